"""Write names in ASCII whose letters no installed font has, so that figures still tell them apart."""

from collections.abc import Iterable
from itertools import chain

from anyascii import anyascii


def readable(texts: Iterable[str], lacking: Iterable[str]) -> dict[str, str]:
    """Those of the texts that have `lacking` characters, each with what to draw instead.

    The library anyascii gives the sound of a character, such as Mao for the Chinese word for cat. Where it has none, or
    where two texts would look the same, its code point is written, such as U+732B.
    """
    sounds = {character: anyascii(character).strip() or _code(character) for character in lacking}
    wanted = [text for text in dict.fromkeys(texts) if sounds.keys() & set(text)]
    found = {text: _replaced(text, sounds) for text in wanted}
    codes = {character: _code(character) for character in sounds}
    drawn = [*found.values(), *(text for text in dict.fromkeys(texts) if text not in found)]
    return {text: shown if drawn.count(shown) == 1 else _replaced(text, codes) for text, shown in found.items()}


def _replaced(text: str, by: dict[str, str]) -> str:
    return "".join(chain.from_iterable(by.get(character, character) for character in text))


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"
