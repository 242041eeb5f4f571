"""Which languages the texts are in, by py3langid, without a network.

Lui and Baldwin, "langid.py: an off-the-shelf language identification tool", ACL 2012: naive Bayes over parts of bytes.
A short text says little about its language, and similar languages are confused: a text counts as uncertain unless its
language has a probability of at least CERTAIN.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd

from darkroom.core.randomness import numpy_generator

SAMPLE, CHARACTERS = 5000, 1000  # texts of each split that are identified, and of each its first characters
CERTAIN = 0.5
VARIETIES = ("arz", "ary", "wuu", "yue", "hbo", "grc", "uzs", "ltg")  # they count as ar, zh, he, el, uz and lv
UNCERTAIN, NO_LANGUAGE = "uncertain", "none"  # rows of the table; the latter is of numbers, links and the like
_ZXX = "zxx"  # the code of ISO 639 for it


class Identifier(Protocol):
    """What names the language of a text."""

    def classify(self, text: str) -> tuple[str, float]:
        """The code of ISO 639 and its probability."""
        ...


def table(texts: Mapping[str, Sequence[str]], seed: int, identifier: Identifier | None = None) -> pd.DataFrame:
    """One row per language, the most frequent one first; of large splits, a random sample of SAMPLE texts is counted.

    language    its code of ISO 639, UNCERTAIN or NO_LANGUAGE
    confidence  the mean probability of the language of these texts
    The other columns are the splits, with numbers of texts.
    """
    identifier = identifier or _library()
    rows = []
    for split, some in texts.items():
        chosen = np.sort(numpy_generator(seed, "languages", split).permutation(len(some))[:SAMPLE]).tolist()
        rows += [(split, *_language(identifier, some[number])) for number in chosen]
    found = pd.DataFrame(rows, columns=["split", "language", "confidence"])
    counts = pd.crosstab(found["language"], found["split"]).reindex(columns=list(texts), fill_value=0)
    counts.insert(0, "confidence", found.groupby("language")["confidence"].mean().round(4))
    order = sorted(counts.index, key=lambda name: (name == UNCERTAIN, -counts.loc[name, list(texts)].sum(), name))
    return counts.loc[order].rename_axis(index="language", columns=None).reset_index()


def _language(identifier: Identifier, text: str) -> tuple[str, float]:
    code, probability = identifier.classify(text[:CHARACTERS])
    if probability < CERTAIN:
        return UNCERTAIN, probability
    return (NO_LANGUAGE if code == _ZXX else code), probability


def _library() -> Identifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    found = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    found.set_languages([name for name in found.labels if name not in VARIETIES])
    return found
