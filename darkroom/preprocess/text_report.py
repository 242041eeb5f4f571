"""What the report on the data says of texts: lengths, cut and unknown tokens, scripts, and a sample of each class."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.core import arrays
from darkroom.core.arrays import UNLABELLED, Manifest, Split
from darkroom.core.outputs import write_csv
from darkroom.core.randomness import numpy_generator
from darkroom.preprocess.report import ROW
from darkroom.preprocess.samples import NO_LABEL
from darkroom.tokens import text
from darkroom.tokens.text import PADDING, Tokenizer

ARRAYS = "data/arrays"
SAMPLES = 5  # texts of each class in samples.csv
_QUANTILES = (0.0, 0.5, 0.95, 1.0)


def facts(manifest: Manifest, splits: Mapping[str, Split]) -> dict[str, float]:
    """Numbers for metrics/preprocess.json: of the tokens of the training split."""
    lengths = (splits["train"].inputs != PADDING).sum(1)
    length, vocabulary = manifest.shape
    return {
        "vocabulary": vocabulary,
        "max_tokens": length,
        "mean_tokens": round(float(lengths.mean()), 2),
        "full": int(sum((split.inputs[:, -1] != PADDING).sum() for split in splits.values())),  # perhaps cut
    }


def write(folder: Path, splits: Mapping[str, Split], manifest: Manifest, seed: int) -> None:
    """Write lengths.csv, scripts.csv and samples.csv to `folder`."""
    texts = {name: arrays.read_texts(ARRAYS, name) for name in splits}
    tokenizer = Tokenizer((Path(ARRAYS) / text.FILE).read_bytes(), manifest.shape[0])
    write_csv(folder / "lengths.csv", lengths(texts, splits, tokenizer))
    write_csv(folder / "scripts.csv", scripts(texts))
    write_csv(folder / "samples.csv", _samples(texts, splits, manifest, seed))


def lengths(texts: Mapping[str, list[str]], splits: Mapping[str, Split], tokenizer: Tokenizer) -> pd.DataFrame:
    """By split: quantiles of the numbers of characters and tokens, cut texts, and the fraction of unknown tokens."""
    rows = []
    for name in texts:
        ids = splits[name].inputs
        counts = {"characters": [len(one) for one in texts[name]], "tokens": (ids != PADDING).sum(1)}
        row = {"split": name, "cut": int(tokenizer.ids(texts[name])[1].sum())}
        for kind, values in counts.items():
            for quantile, value in zip(("min", "median", "95", "max"), np.quantile(values, _QUANTILES), strict=True):
                row[f"{kind}_{quantile}"] = float(value)
        unknown = tokenizer.unknown(ids) / np.maximum(1, counts["tokens"])
        rows.append(row | {"unknown": float(unknown.mean())})
    return pd.DataFrame(rows)


def scripts(texts: Mapping[str, list[str]]) -> pd.DataFrame:
    """How many texts of each split are mostly in each script, such as LATIN or CJK."""
    rows = [{"split": name, **Counter(map(_script, texts[name]))} for name in texts]
    return pd.DataFrame(rows).fillna(0).astype({"split": str})


def _script(one: str) -> str:
    letters = Counter(unicodedata.name(letter, "OTHER").partition(" ")[0] for letter in one if letter.isalpha())
    return letters.most_common(1)[0][0] if letters else "NO LETTERS"


def _samples(
    texts: Mapping[str, list[str]], splits: Mapping[str, Split], manifest: Manifest, seed: int
) -> pd.DataFrame:
    rows = []
    named = [("train", label, name) for label, name in enumerate(manifest.classes)]
    for part, label, name in (*named, (UNLABELLED, NO_LABEL, ROW)) if UNLABELLED in splits else named:
        own = np.flatnonzero(splits[part].labels == label)
        chosen = numpy_generator(seed, "samples", name).permutation(own)[:SAMPLES].tolist()
        rows += [(name, splits[part].ids.item(number), texts[part][number]) for number in chosen]
    return pd.DataFrame(rows, columns=["class", "id", "text"])
