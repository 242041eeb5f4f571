"""Find near duplicates: texts with nearly the same parts of three characters.

Candidates share bands of MinHash signatures (Broder, "On the resemblance and containment of documents", 1997; the
library rensa); their Jaccard similarity is then computed exactly.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd
import rensa

_PERMUTATIONS, _BANDS = 128, 32  # pairs with a similarity of 0.85 share a band with a probability above 0.9999
_SEED, _PART = 0, 3


def find_pairs(texts: Sequence[str], chosen: np.ndarray, max_difference: float) -> pd.DataFrame:
    """Pairs of the texts at `chosen` (n,) whose Jaccard distance is at most `max_difference`, nearest first.

    Columns: first and second (indices, first < second), difference, and mirrored, which is false.
    """
    rows: list[tuple[int, int, float]] = []
    if max_difference:
        found = [parts(texts[number]) for number in chosen.tolist()]
        signatures = rensa.RMinHash.from_token_sets([sorted(one) for one in found], _PERMUTATIONS, _SEED)
        lookup = rensa.RMinHashLSH(0.5, _PERMUTATIONS, _BANDS)
        lookup.insert_many(signatures)
        for first, candidates in enumerate(lookup.query_all(signatures)):
            for second in sorted(set(candidates)):
                if second > first:
                    difference = 1 - len(found[first] & found[second]) / len(found[first] | found[second])
                    if difference <= max_difference:
                        rows.append((int(chosen[first]), int(chosen[second]), difference))
    table = pd.DataFrame(rows, columns=["first", "second", "difference"]).astype({"first": int, "second": int})
    table = table.sort_values(["difference", "first", "second"], ignore_index=True)
    return table.assign(difference=table["difference"].astype(float), mirrored=False)


def key(text: str) -> str:
    """A text that is equal for texts that differ only in case, blanks or punctuation."""
    kept = (one if unicodedata.category(one)[0] in "LMNS" else " " for one in text.casefold())
    return " ".join("".join(kept).split()) or text


def parts(text: str) -> set[str]:
    """The parts of three characters of a text, without case and punctuation; a short text is one part."""
    plain = f" {key(text)} "
    return {plain[start : start + _PART] for start in range(max(1, len(plain) - _PART + 1))}
