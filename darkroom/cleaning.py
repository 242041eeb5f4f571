"""What is left out or repaired before the pictures are packed, and the account of it.

Pictures are left out of training, and of validation where they are in the test set too. The test set stays as it is, so that
results compare with other people's: only what cannot be decoded is missing there.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from darkroom.errors import DarkroomError
from darkroom.params import Clean
from darkroom.samples import Samples

RULES = ("unusable", "constant", "aspect", "leak", "conflict", "duplicate", "rare", "near_leak")  # a picture that breaks several is reported for the first

_BLOCK_BYTES = 2**20  # of pixels filtered at a time: a block and what is computed from it stay in the processor's cache
_BEFORE = {"train": ("val", "test"), "val": ("test",), "test": ()}  # a picture of a split must not be in those: it would leak


@dataclass(frozen=True)
class Finding:
    """What is wrong with one picture, and what was done about it."""

    id: str
    split: str
    rule: str  # one of RULES
    detail: str
    done: str  # "left out" or "kept"


@dataclass
class Survey:
    """What one look at all the pixels told, by place."""

    digests: list[bytes] = field(default_factory=list)  # 128 bits: no two different pictures will ever share one
    constant: dict[int, str] = field(default_factory=dict)  # the one colour of the whole picture


def survey(blocks: Iterable[np.ndarray]) -> Survey:
    """Looks at every picture of blocks (n, H, W, C) uint8 once."""
    seen = Survey()
    for block in blocks:
        plain = (block == block[:, :1, :1]).all(axis=(1, 2, 3))
        seen.constant |= {len(seen.digests) + int(place): " ".join(map(str, block[place, 0, 0])) for place in np.flatnonzero(plain)}
        seen.digests += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in block]
    return seen


def inspect(samples: Samples, seen: Survey, unusable: Mapping[int, str], aspects: np.ndarray, classes: Sequence[str], rules: Clean) -> list[Finding]:
    """What is wrong with which of the samples in a split, by the rules that are switched on, in their order, at most one finding each.

    unusable:  the file could not be decoded; `unusable` says why, by place.
    constant:  the whole picture is of one colour.
    aspect:    one side of the original is so many times the other; `aspects` (N,) float64 holds the ratios, at least 1.
    leak:      a training picture has the same pixels as one of validation or test, or one of validation as one of test.
    conflict:  the same pixels appear in the split under another label; nobody knows which is right, so each is reported.
    duplicate: the same pixels appeared in the split before, under the same label.
    rare:      its class has fewer than `min_class_size` training pictures left.
    """
    firsts: dict[tuple[str, bytes], dict[int, str]] = {}  # by split and pixels, then by label: the id of the first such picture
    ids, labels, splits = samples.ids.tolist(), samples.labels.tolist(), samples.splits.tolist()
    for place, (split, digest) in enumerate(zip(splits, seen.digests, strict=True)):
        if split and place not in unusable:
            firsts.setdefault((split, digest), {}).setdefault(labels[place], ids[place])

    findings: list[Finding] = []
    for place, (name, label, split, digest) in enumerate(zip(ids, labels, splits, seen.digests, strict=True)):
        if not split:
            continue
        same = firsts.get((split, digest), {})
        other = next((other for other in same if other != label), None)
        leak = next((firsts[before, digest] for before in _BEFORE[split] if (before, digest) in firsts), None)
        done = "kept" if split == "test" else "left out"
        if place in unusable:
            findings.append(Finding(name, split, "unusable", unusable[place], "left out"))
        elif rules.constant and place in seen.constant:
            findings.append(Finding(name, split, "constant", f"every pixel is {seen.constant[place]}", done))
        elif rules.max_aspect and aspects[place] > rules.max_aspect:
            findings.append(Finding(name, split, "aspect", f"one side is {aspects[place]:.3g} times the other", done))
        elif rules.leak and leak:
            findings.append(Finding(name, split, "leak", f"the same pixels as {next(iter(leak.values()))}", done))
        elif rules.conflict and other is not None:
            detail = f"labelled {classes[label]}, but the same pixels as {same[other]}, labelled {classes[other]}"
            findings.append(Finding(name, split, "conflict", detail, done))
        elif rules.duplicate and same[label] != name:
            findings.append(Finding(name, split, "duplicate", f"the same pixels as {same[label]}", done))
    return findings + _rare(samples, findings, classes, rules.min_class_size)


def _rare(samples: Samples, findings: Sequence[Finding], classes: Sequence[str], least: int) -> list[Finding]:
    """A finding for each picture, of any split, whose class has too few training pictures once the findings are left out."""
    gone = {finding.id for finding in findings if finding.done == "left out"}
    kept = np.array([name not in gone for name in samples.ids.tolist()], dtype=bool)
    counts = np.bincount(samples.labels[kept & (samples.splits == "train")], minlength=len(classes))
    rare = kept & (samples.splits != "") & (counts < least)[samples.labels]
    return [
        Finding(name, split, "rare", f"the class {classes[label]} has {counts[label]} training pictures, fewer than {least}", "left out")
        for name, split, label in zip(samples.ids[rare].tolist(), samples.splits[rare].tolist(), samples.labels[rare].tolist(), strict=True)
    ]


def distinct(samples: Samples, seen: Survey) -> np.ndarray:
    """The places (n,) int64 of the pictures in a split, but for those of one colour; of those with the same pixels the first."""
    firsts: dict[bytes, int] = {}
    for place in np.flatnonzero(samples.splits != "").tolist():
        if place not in seen.constant:
            firsts.setdefault(seen.digests[place], place)
    return np.array(list(firsts.values()), dtype=np.int64)


def near_leaks(samples: Samples, seen: Survey, pairs: pd.DataFrame) -> list[Finding]:
    """Which pictures to leave out, as near duplicates of others: of validation if those are of the test set, of training if of either.

    `pairs` as of `duplicates.near`, among `distinct` pictures; what holds for a picture holds for all with the same pixels. A
    training picture near to a validation picture that is left out itself stays.
    """
    copies: dict[bytes, list[int]] = {}
    named = {seen.digests[place] for place in np.unique(pairs[["first", "second"]]).tolist()}
    for place in np.flatnonzero(samples.splits != "").tolist():
        if seen.digests[place] in named:
            copies.setdefault(seen.digests[place], []).append(place)
    ids, splits, found = samples.ids.tolist(), samples.splits.tolist(), dict[int, Finding]()
    for split in ("val", "train"):
        for first, second, difference in pairs[["first", "second", "difference"]].itertuples(index=False):
            for one, other in ((first, second), (second, first)):
                near = next((place for place in copies[seen.digests[other]] if splits[place] in _BEFORE[split] and place not in found), None)
                leaking = [place for place in copies[seen.digests[one]] if splits[place] == split and place not in found]
                for place in leaking if near is not None else ():
                    found[place] = Finding(ids[place], split, "near_leak", f"differs from {ids[near]} by {difference:.2f} grey levels", "left out")
    return [found[place] for place in sorted(found)]


def leave_out(samples: Samples, findings: Sequence[Finding], classes: Sequence[str]) -> tuple[Samples, tuple[str, ...]]:
    """The samples with those that are left out in no split, and the classes that remain, which the labels now count.

    Raises DarkroomError where a class is left without a training picture though none of it is too rare, or where fewer than
    two classes remain.
    """
    gone = {finding.id: finding.rule for finding in findings if finding.done == "left out"}
    left_out = np.array([name in gone for name in samples.ids.tolist()], dtype=bool)
    kept = samples.moved(np.flatnonzero(left_out), "")
    rare = {int(label) for name, label in zip(samples.ids.tolist(), samples.labels, strict=True) if gone.get(name) == "rare"}
    for label, name in enumerate(classes):
        of_class = (samples.labels == label) & (samples.splits == "train")
        if label not in rare and not (of_class & ~left_out).any():
            rules = Counter(gone[picture] for picture in samples.ids[of_class].tolist() if picture in gone)
            reasons = ", ".join(f"{count} {rule}" for rule, count in rules.items()) or "none"
            raise DarkroomError(
                f"The class {name!r} has no training picture left: it had {of_class.sum()}, of which were left out: {reasons}; "
                "add pictures of it to the dataset, switch the rule off in preprocess.clean, or leave small classes out with its min_class_size."
            )
    remaining = [label for label in range(len(classes)) if label not in rare]
    if len(remaining) < 2:
        raise DarkroomError("Fewer than two classes have enough training pictures: lower preprocess.clean.min_class_size, or add pictures.")
    return replace(kept, labels=np.searchsorted(remaining, samples.labels)), tuple(classes[label] for label in remaining)


def refuse_too_many(unusable: Mapping[int, str], samples: Samples, most: float) -> None:
    """Raises DarkroomError where more than the share `most` of the pictures are unusable, with a few of them."""
    if len(unusable) <= most * len(samples):
        return
    some = "; ".join(f"{samples.ids[place]} ({reason})" for place, reason in list(unusable.items())[:3])
    raise DarkroomError(
        f"{len(unusable)} of {len(samples)} pictures cannot be used, more than preprocess.max_bad_fraction = {most:g} allows: {some}"
        f"{'; ...' if len(unusable) > 3 else ''}. Repair or remove them, or raise the limit."
    )


def denoise(blocks: Iterable[np.ndarray], method: Literal["none", "median"]) -> Iterator[np.ndarray]:
    """The blocks (n, H, W, C) uint8 as they are, or each pixel the median of its 3 x 3 neighbours, a channel at a time.

    Border pixels are repeated outwards. The columns of three are sorted first; the median of the nine is then the median
    of the largest low, the middle mid and the smallest high value (A. W. Paeth, "Median finding on a 3 x 3 grid",
    Graphics Gems, 1990).
    """
    for block in blocks:
        yield block if method == "none" else _median(block)


def _median(images: np.ndarray) -> np.ndarray:
    filtered = np.empty_like(images)
    block = max(1, _BLOCK_BYTES // images[0].nbytes)
    for start in range(0, len(images), block):
        padded = np.pad(images[start : start + block], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        low, mid, high = _sort3(padded[:, :-2], padded[:, 1:-1], padded[:, 2:])
        lows, mids, highs = (_sort3(row[:, :, :-2], row[:, :, 1:-1], row[:, :, 2:]) for row in (low, mid, high))
        filtered[start : start + block] = _sort3(lows[2], mids[1], highs[0])[1]
    return filtered


def _sort3(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least, the middle and the largest of three arrays, element by element."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    return np.minimum(low, c), np.maximum(low, np.minimum(high, c)), np.maximum(high, c)
