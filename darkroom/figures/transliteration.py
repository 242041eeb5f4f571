"""Write names in ASCII whose letters no installed font has, so that figures still tell them apart."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain

from anyascii import anyascii


def readable(texts: Iterable[str], lacking: Iterable[str]) -> dict[str, str]:
    """Those of the texts that have `lacking` characters, each with what to draw instead.

    The library anyascii gives the sound of a character, such as Mao for the Chinese word for cat. Where a text has no
    sound, or where two texts would look the same, the code points are written, such as U+732B.
    """
    sounds = {character: anyascii(character).strip() for character in lacking}
    codes = {character: f"U+{ord(character):04X}" for character in sounds}
    texts = dict.fromkeys(texts)
    found = {text: _replaced(text, sounds) for text in texts if sounds.keys() & set(text)}
    drawn = Counter([*found.values(), *(text for text in texts if text not in found)])
    return {
        text: shown if shown.strip() and drawn[shown] == 1 else _replaced(text, codes) for text, shown in found.items()
    }


def _replaced(text: str, by: dict[str, str]) -> str:
    return "".join(chain.from_iterable(by.get(character, character) for character in text))
