"""Corruptions of texts at five severities: what people mistype, leave out and write otherwise.

After Pruthi, Dhingra and Lipton, "Combating adversarial misspellings with robust word recognition", ACL 2019, and
Ribeiro et al., "Beyond accuracy: behavioral testing of NLP models with CheckList", ACL 2020.
"""

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np

from darkroom.core import arrays
from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator
from darkroom.tokens import text as texts
from darkroom.tokens.text import Tokenizer

SEVERITIES = (1, 2, 3, 4, 5)
ARRAYS = "data/arrays"

# The fraction of the letters, words or marks that may change which do, at each severity.
_LETTERS, _WORDS, _MARKS = (0.02, 0.04, 0.06, 0.08, 0.10), (0.05, 0.10, 0.15, 0.20, 0.30), (0.2, 0.4, 0.6, 0.8, 1.0)
STRENGTHS = {
    "swapped_letters": _LETTERS,
    "neighbouring_keys": _LETTERS,
    "missing_letters": _LETTERS,
    "doubled_letters": _LETTERS,
    "missing_words": _WORDS,
    "capitals": _MARKS,
    "punctuation": _MARKS,
    "accents": _MARKS,
    "contractions": _MARKS,
}
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # of a keyboard; a row is half a key to the right of the one above
_ACCENTS = dict(zip("aeiouncsyz", "áéíóúñçšýž", strict=True))
_CONTRACTIONS = {
    "can't": "cannot",
    "won't": "will not",
    "n't": " not",
    "'re": " are",
    "'ve": " have",
    "'ll": " will",
    "i'm": "i am",
    "it's": "it is",
    "what's": "what is",
    "that's": "that is",
}


def load(split: Split) -> tuple[list[str], Tokenizer]:
    """The texts of the examples of a part of the test split, and their tokenizer."""
    all_ids = arrays.read_split(ARRAYS, "test").ids.tolist()
    known = dict(zip(all_ids, arrays.read_texts(ARRAYS, "test"), strict=True))
    tokenizer = Tokenizer((Path(ARRAYS) / texts.FILE).read_bytes(), split.inputs.shape[1])
    return [known[name] for name in split.ids.tolist()], tokenizer


def corrupt(given: tuple[list[str], Tokenizer], name: str, severity: int, seed: int) -> np.ndarray:
    """The inputs (N, L) int32 of N corrupted texts; `given` is a result of `load`, `name` one of CORRUPTIONS.

    The random numbers for a text depend on `seed`, `name` and its index. They do not depend on the severity: a higher
    one changes the same places, and more.
    """
    found, tokenizer = given
    strength = STRENGTHS[name][SEVERITIES.index(severity)]
    change = CORRUPTIONS[name]
    corrupted = [change(one, strength, numpy_generator(seed, "corruption", name, n)) for n, one in enumerate(found)]
    return tokenizer.ids([changed if changed.strip() else one for changed, one in zip(corrupted, found, strict=True)])[
        0
    ]


# Each takes a text, a fraction, and a generator that it draws from once for each place that may change.


def swapped_letters(text: str, fraction: float, random: np.random.Generator) -> str:
    """Swap neighbouring letters."""
    characters, drawn = list(text), random.random(len(text))
    place = 0
    while place < len(characters) - 1:
        if drawn[place] < fraction and characters[place].isalpha() and characters[place + 1].isalpha():
            characters[place : place + 2] = characters[place + 1], characters[place]
            place += 1
        place += 1
    return "".join(characters)


def neighbouring_keys(text: str, fraction: float, random: np.random.Generator) -> str:
    """Replace letters by those of a neighbouring key."""
    places, chosen = random.random((2, len(text)))

    def near(letter: str, drawn: float) -> str:
        keys = _NEIGHBOURS.get(letter.lower(), letter)
        found = keys[int(drawn * len(keys))]
        return found.upper() if letter.isupper() else found

    drawn = zip(text, places, chosen, strict=True)
    return "".join(near(one, which) if place < fraction and one.isalpha() else one for one, place, which in drawn)


def missing_letters(text: str, fraction: float, random: np.random.Generator) -> str:
    """Leave out letters."""
    return _letters(text, fraction, random, lambda letter: "")


def doubled_letters(text: str, fraction: float, random: np.random.Generator) -> str:
    """Write letters twice."""
    return _letters(text, fraction, random, lambda letter: 2 * letter)


def missing_words(text: str, fraction: float, random: np.random.Generator) -> str:
    """Leave out words, but not all."""
    words = text.split()
    drawn = random.random(len(words))
    return " ".join(word for word, one in zip(words, drawn, strict=True) if one >= fraction or one == drawn.max())


def capitals(text: str, fraction: float, random: np.random.Generator) -> str:
    """Write words in capital letters."""
    words = text.split(" ")
    drawn = random.random(len(words))
    return " ".join(word.upper() if one < fraction else word for word, one in zip(words, drawn, strict=True))


def punctuation(text: str, fraction: float, random: np.random.Generator) -> str:
    """Leave out punctuation."""
    drawn = iter(random.random(len(text)))
    return "".join("" if next(drawn) < fraction and _is_mark(one) else one for one in text)


def accents(text: str, fraction: float, random: np.random.Generator) -> str:
    """Write letters with accents, and those with accents without."""

    def changed(letter: str) -> str:
        plain, *marks = unicodedata.normalize("NFD", letter)
        return plain if marks and all(map(unicodedata.combining, marks)) else _ACCENTS.get(letter, letter)

    return _letters(text, fraction / 5, random, changed)


def contractions(text: str, fraction: float, random: np.random.Generator) -> str:
    """Spell out contractions."""
    pattern = "|".join(map(re.escape, _CONTRACTIONS))
    drawn = iter(random.random(len(text)))

    def spelt(match: re.Match) -> str:
        return _CONTRACTIONS[match[0].lower()] if next(drawn) < fraction else match[0]

    return re.sub(pattern, spelt, text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"), flags=re.IGNORECASE | re.ASCII)


CORRUPTIONS: dict[str, Callable[[str, float, np.random.Generator], str]] = {
    function.__name__: function
    for function in (
        *(swapped_letters, neighbouring_keys, missing_letters, doubled_letters),
        *(missing_words, capitals, punctuation, accents, contractions),
    )
}


def _letters(text: str, fraction: float, random: np.random.Generator, change: Callable[[str], str]) -> str:
    drawn = random.random(len(text))
    return "".join(
        change(one) if place < fraction and one.isalpha() else one for one, place in zip(text, drawn, strict=True)
    )


def _is_mark(one: str) -> bool:
    return unicodedata.category(one).startswith("P")


def _neighbours() -> dict[str, str]:
    places = {
        letter: (row, column + 0.5 * row) for row, letters in enumerate(_ROWS) for column, letter in enumerate(letters)
    }

    def is_near(one: str, other: str) -> bool:
        (row, column), (other_row, other_column) = places[one], places[other]
        return one != other and abs(row - other_row) <= 1 and abs(column - other_column) <= 1

    return {one: "".join(other for other in places if is_near(one, other)) for one in places}


_NEIGHBOURS = _neighbours()
