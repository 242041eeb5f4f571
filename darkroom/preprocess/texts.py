"""The texts of a dataset: compared, given token ids, and packed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.core.arrays import OUT_OF_SCOPE, TEXT, UNLABELLED, Manifest
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_array, write_json
from darkroom.core.params import read as read_yaml
from darkroom.core.spelling import counted
from darkroom.datasets import texts as index
from darkroom.datasets.texts import Entry
from darkroom.preprocess import arrays_folder, raw_data, report, selection, splits, text_duplicates, text_report
from darkroom.preprocess.arrays_folder import Packed
from darkroom.preprocess.cleaning import Scan
from darkroom.preprocess.config import PreprocessConfig
from darkroom.preprocess.samples import NO_LABEL, Samples
from darkroom.tokens import text
from darkroom.tokens.text import Tokenizer

select, counts = selection.select, report.counts
write_samples, facts = text_report.write, text_report.facts  # of the report

PRETRAINED = Path("data/pretrained")  # folders of pretrained weights, which bring their tokenizers
DESCRIPTION = "weights.yaml"  # of the weights, with the SHA-256 of their tokenizer


class Texts:
    """See `selection.Examples`."""

    def __init__(self, folder: str | Path, settings: PreprocessConfig):
        self._settings = settings.text
        self.description = raw_data.describe(folder)
        indexed = index.read(folder)
        entries = [entry for entry in indexed if entry.split != OUT_OF_SCOPE]
        self.texts = [entry.text for entry in entries]
        labels = {"": NO_LABEL} | {name: label for label, name in enumerate(self.description.classes)}
        names = dict.fromkeys(name for entry in entries for name in entry.columns)
        self.samples = Samples(
            np.array([entry.id for entry in entries], dtype=TEXT),
            np.array([labels[entry.label] for entry in entries]),
            np.array([entry.split or "train" for entry in entries]),
            np.array([entry.group for entry in entries], dtype=TEXT),
            {name: np.array([entry.columns.get(name, "") for entry in entries], dtype=TEXT) for name in names},
        )
        self.unusable = {number: entry.problem for number, entry in enumerate(entries) if entry.problem}
        self.aspects = np.ones(len(entries))
        keys = np.array([text_duplicates.key(one) for one in self.texts], dtype=TEXT)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        self.scan = Scan(first[inverse], same="same text", difference="of their parts")
        given = [entry for entry in indexed if entry.split == OUT_OF_SCOPE]
        self._others = _unique_others(given, set(keys.tolist()))
        notices = [splits.notice(self.samples, settings.test_fraction)]
        if left := len(given) - len(self._others):
            notices.append(f"{counted(left, 'out-of-scope text')} left out: unusable, or the same as another text")
        self.notices = [notice for notice in notices if notice]

    def __enter__(self) -> "Texts":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def near_duplicates(self, chosen: np.ndarray, max_difference: float) -> pd.DataFrame:
        """See `text_duplicates.find_pairs`."""
        return text_duplicates.find_pairs(self.texts, chosen, max_difference)

    def write(self, folder: str | Path, samples: Samples, classes: tuple[str, ...]) -> Manifest:
        """Write the token ids, texts and tokenizer of the splits of `samples`; see `arrays_folder.write`."""

        def pack_inputs(temporary: Path, indices: Mapping[str, np.ndarray]) -> Packed:
            learned = indices["train"] if len(indices["train"]) else indices[UNLABELLED]
            contents, source = self._tokenizer(learned)
            tokenizer = Tokenizer(contents, self._settings.max_tokens, source)
            (temporary / text.FILE).write_bytes(contents)
            digests, examples = {}, {}
            parts = {name: [self.texts[number] for number in chosen.tolist()] for name, chosen in indices.items()}
            if self._others:
                parts[OUT_OF_SCOPE] = [entry.text for entry in self._others]
                write_json(temporary / f"{OUT_OF_SCOPE}.ids.json", [entry.id for entry in self._others])
            for name, own in parts.items():
                write_json(temporary / f"{name}.texts.json", own)
                ids, _ = tokenizer.ids(own)
                write_array(temporary / f"{name}.inputs.npy", len(ids), [ids])
                digests[name] = hashlib.sha256(str(ids.shape).encode() + ids.tobytes())
                examples[name] = json.dumps(own).encode()
            shape = tokenizer.length, tokenizer.vocabulary
            unused = {"mean": (), "std": (), "resize": "", "interpolation": "", "crop_fraction": 1.0}
            return Packed(digests, {"kind": "text", "shape": shape, **unused}, examples)

        return arrays_folder.write(folder, samples, self.description, classes, pack_inputs)

    def _tokenizer(self, train: np.ndarray) -> tuple[bytes, str]:
        """The contents of tokenizer.json, and where they come from; `train` (n,) are the texts to train one on."""
        name = self._settings.tokenizer
        if name == "none":
            chosen = (self.texts[number] for number in train.tolist())
            return text.train(chosen, self._settings.vocabulary), "the trained tokenizer"
        path = PRETRAINED / name / text.FILE
        try:
            contents = path.read_bytes()
        except OSError:
            known = ", ".join(sorted(one.parent.name for one in PRETRAINED.glob(f"*/{text.FILE}"))) or "none"
            raise DarkroomError(
                f"preprocess.text.tokenizer = {name!r}: must be none, or a folder in {PRETRAINED} with a {text.FILE}, "
                f"which has {known}."
            ) from None
        described = PRETRAINED / name / DESCRIPTION
        fields = read_yaml(described) if described.exists() else {}
        if isinstance(fields, dict) and fields.get("tokenizer") not in (None, hashlib.sha256(contents).hexdigest()):
            raise DarkroomError(
                f"{path} is not the tokenizer of these weights, whose SHA-256 is in {described}: restore it, such as "
                f"with `git checkout {path}`."
            )
        return contents, str(path)


def _unique_others(entries: Sequence[Entry], known: set[str]) -> list[Entry]:
    """The usable ones of the out-of-scope texts, without copies of each other and of those with `known` keys."""
    found: dict[str, Entry] = {}
    for entry in entries:
        key = text_duplicates.key(entry.text)
        if not entry.problem and key not in known:
            found.setdefault(key, entry)
    return [*found.values()]
