"""Words for messages: suggest the name that a user meant, count things, and write two names in their order."""

import difflib
import unicodedata
from collections.abc import Iterable

NOUNS = {"image": "image", "text": "text", "table": "row", "history": "history"}  # of an example, by its kind


def closest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known name most similar to `name`; None if no similarity (0..1, see difflib) reaches `cutoff`."""
    return next(iter(difflib.get_close_matches(name, list(known), 1, cutoff)), None)


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.5, listed: bool = True) -> str:
    """`did you mean <closest>?`; without a similar name `known: <all>` if `listed`, else an empty string."""
    known = list(known)
    if suggested := closest(name, known, cutoff):
        return f"did you mean {suggested}?"
    return f"known: {', '.join(known) or 'none'}" if listed else ""


def counted(count: int, noun: str) -> str:
    """The count and its noun, such as `1 image`, `2 classes` or `10,000 test images`."""
    return f"{count:,} {noun if count == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Several of a noun, such as images, classes or histories."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def confusion(label: str, predicted: str) -> str:
    """`label → predicted`, in this order even if the names are written from right to left."""
    return f"{isolated(label)} → {isolated(predicted)}"


def isolated(name: str) -> str:
    """The name; if it has right-to-left letters, between Unicode's isolates, so that the text around it stays as it is.

    https://www.unicode.org/reports/tr9/
    """
    turns = any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in name)
    return f"\u2068{name}\u2069" if turns else name
