"""What the report on the data says of texts: lengths, cut tokens, scripts, languages, and a sample of each class."""

import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.core import arrays
from darkroom.core.arrays import OUT_OF_SCOPE, UNLABELLED, Manifest, Split
from darkroom.core.outputs import write_csv
from darkroom.core.randomness import numpy_generator
from darkroom.preprocess import languages
from darkroom.preprocess.report import ROW
from darkroom.preprocess.samples import NO_LABEL
from darkroom.tokens import text
from darkroom.tokens.text import PADDING, Tokenizer

ARRAYS = "data/arrays"
SAMPLES = 5  # texts of each class in samples.csv
_QUANTILES = (0.0, 0.5, 0.95, 1.0)


def facts(manifest: Manifest, splits: Mapping[str, Split]) -> dict[str, float]:
    """Numbers for metrics/preprocess.json: of the training split, but `cut` counts the texts of all splits."""
    lengths = token_counts(splits["train"])
    length, vocabulary = manifest.shape
    return {
        "vocabulary": vocabulary,
        "max_tokens": length,
        "mean_tokens": round(float(lengths.mean()), 2) if len(lengths) else 0.0,
        "cut": sum(_cut(name, split, manifest) for name, split in splits.items()),
        **({OUT_OF_SCOPE: len(others)} if (others := arrays.read_out_of_scope(ARRAYS)) else {}),
    }


def write(folder: Path, splits: Mapping[str, Split], manifest: Manifest, seed: int) -> None:
    """Write lengths.csv, scripts.csv, languages.csv and samples.csv to `folder`.

    Without languages.csv if languages cannot be identified: the report is useful without it.
    """
    others = arrays.read_out_of_scope(ARRAYS)
    splits = {**splits, OUT_OF_SCOPE: others} if others else splits
    texts = {name: arrays.read_texts(ARRAYS, name) for name in splits}
    write_csv(folder / "lengths.csv", lengths(texts, splits, _tokenizer(manifest)))
    write_csv(folder / "scripts.csv", scripts(texts))
    write_csv(folder / "samples.csv", _samples(texts, splits, manifest, seed))
    try:
        write_csv(folder / "languages.csv", languages.table(texts, seed))
    except Exception as error:  # whatever a library of classifiers raises
        print(
            f"warning: languages are not identified ({error}): `pip install -r requirements/preprocess.txt`",
            file=sys.stderr,
        )


def lengths(texts: Mapping[str, list[str]], splits: Mapping[str, Split], tokenizer: Tokenizer) -> pd.DataFrame:
    """By split: quantiles of the numbers of characters and tokens, cut texts, and the fraction of unknown tokens."""
    rows = []
    for name in (name for name, some in texts.items() if some):
        ids = splits[name].inputs
        counts = {"characters": [len(one) for one in texts[name]], "tokens": token_counts(splits[name])}
        row = {"split": name, "cut": int(tokenizer.ids(texts[name])[1].sum())}
        for kind, values in counts.items():
            for quantile, value in zip(("min", "median", "95", "max"), np.quantile(values, _QUANTILES), strict=True):
                row[f"{kind}_{quantile}"] = float(value)
        unknown = tokenizer.unknown(ids) / np.maximum(1, counts["tokens"])
        rows.append(row | {"unknown": float(unknown.mean())})
    return pd.DataFrame(rows)


def token_counts(split: Split) -> np.ndarray:
    """The number of tokens (N,) int64 of each text."""
    return (split.inputs != PADDING).sum(1)


def scripts(texts: Mapping[str, list[str]]) -> pd.DataFrame:
    """How many texts of each split are mostly in each script, such as LATIN or CJK."""
    rows = [{"split": name, **Counter(map(_script, some))} for name, some in texts.items() if some]
    return pd.DataFrame(rows).fillna(0).astype({"split": str})


def _cut(name: str, split: Split, manifest: Manifest) -> int:
    """How many texts of a split have more tokens than the network gets."""
    full = np.flatnonzero(split.inputs[:, -1] != PADDING).tolist()
    texts = arrays.read_texts(ARRAYS, name) if full else []
    return int(_tokenizer(manifest).ids([texts[number] for number in full])[1].sum())


def _tokenizer(manifest: Manifest) -> Tokenizer:
    return Tokenizer((Path(ARRAYS) / text.FILE).read_bytes(), manifest.shape[0])


def _script(one: str) -> str:
    letters = Counter(unicodedata.name(letter, "OTHER").partition(" ")[0] for letter in one if letter.isalpha())
    return letters.most_common(1)[0][0] if letters else "NO LETTERS"


def _samples(
    texts: Mapping[str, list[str]], splits: Mapping[str, Split], manifest: Manifest, seed: int
) -> pd.DataFrame:
    rows = []
    named = [("train", label, name) for label, name in enumerate(manifest.classes)]
    others = [
        (part, NO_LABEL, name) for part, name in ((UNLABELLED, ROW), (OUT_OF_SCOPE, OUT_OF_SCOPE)) if part in splits
    ]
    for part, label, name in [*named, *others]:
        own = np.flatnonzero(splits[part].labels == label)
        chosen = numpy_generator(seed, "samples", name).permutation(own)[:SAMPLES].tolist()
        rows += [(name, splits[part].ids.item(number), texts[part][number]) for number in chosen]
    return pd.DataFrame(rows, columns=["class", "id", "text"])
