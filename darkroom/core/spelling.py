"""Suggest the name that a user meant."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.5, listed: bool = True) -> str:
    """`did you mean <closest>?`, else `known: <all>` where `listed`, else an empty string."""
    known = list(known)
    closest = difflib.get_close_matches(name, known, 1, cutoff)
    if closest:
        return f"did you mean {closest[0]}?"
    return f"known: {', '.join(known) or 'none'}" if listed else ""
