"""What is left out or repaired before the pictures are packed, and the account of it.

Pictures are left out of training, and of validation where they are in the test set too. The test set stays as it is, so that
results compare with other people's: only what cannot be decoded is missing there.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from darkroom.core.errors import DarkroomError
from darkroom.preprocess.config import CleanConfig
from darkroom.preprocess.samples import Samples

RULES = (
    "unusable",
    "constant",
    "aspect",
    "leak",
    "conflict",
    "duplicate",
    "rare",
    "near_leak",
)  # a picture that breaks several is reported for the first

_DIGEST = 16  # bytes: no two different pictures will ever share one
_BEFORE = {
    "train": ("val", "test"),
    "val": ("test",),
    "test": (),
}  # a picture of a split must not be in those: it would leak


@dataclass(frozen=True)
class Finding:
    """What is wrong with one picture, and what was done about it."""

    id: str
    split: str
    rule: str  # one of RULES
    detail: str
    done: str  # "left out" or "kept"


@dataclass(frozen=True)
class Survey:
    """What one look at all the pixels told."""

    firsts: np.ndarray  # (N,) int64: the first place that has the same pixels; a picture's own where it is the first
    constant: Mapping[int, str]  # by place: the one colour of the whole picture


def survey(blocks: Iterable[np.ndarray]) -> Survey:
    """Looks at every picture of blocks (n, H, W, C) uint8 once. Memory grows by a digest a picture."""
    digests, constant = bytearray(), {}
    for block in blocks:
        plain = (block == block[:, :1, :1]).all(axis=(1, 2, 3))
        start = len(digests) // _DIGEST
        constant |= {start + int(place): " ".join(map(str, block[place, 0, 0])) for place in np.flatnonzero(plain)}
        for image in block:
            digests += hashlib.blake2b(image.tobytes(), digest_size=_DIGEST).digest()
    _, firsts, kinds = np.unique(np.frombuffer(digests, f"S{_DIGEST}"), return_index=True, return_inverse=True)
    return Survey(firsts[kinds], constant)


def inspect(
    samples: Samples,
    seen: Survey,
    unusable: Mapping[int, str],
    aspects: np.ndarray,
    classes: Sequence[str],
    rules: CleanConfig,
) -> dict[int, Finding]:
    """What is wrong with which of the samples in a split, by their places: by the rules that are switched on, in their order, one finding each at most.

    unusable:  the file could not be decoded; `unusable` says why, by place.
    constant:  the whole picture is of one colour.
    aspect:    one side of the original is so many times the other; `aspects` (N,) float64 holds the ratios, at least 1.
    leak:      a training picture has the same pixels as one of validation or test, or one of validation as one of test.
    conflict:  the same pixels appear in the split under another label; nobody knows which is right, so each is reported.
    duplicate: the same pixels appeared in the split before, under the same label.
    rare:      its class has fewer than `min_class_size` training pictures left.
    """
    shared = (np.bincount(seen.firsts) > 1)[seen.firsts]  # somebody else has the same pixels
    usable = samples.splits != ""
    usable[list(unusable)] = False
    alike: dict[
        tuple[str, int], dict[int, str]
    ] = {}  # by split and pixels, then by label: the id of the first such picture
    for place in np.flatnonzero(usable & shared).tolist():
        name, label, split = _row(samples, place)
        alike.setdefault((split, seen.firsts.item(place)), {}).setdefault(label, name)

    suspect = shared | (aspects > (rules.max_aspect or np.inf))
    suspect[[*unusable, *seen.constant]] = True
    found: dict[int, Finding] = {}
    for place in np.flatnonzero(suspect & (samples.splits != "")).tolist():
        (name, label, split), pixels = _row(samples, place), seen.firsts.item(place)
        same = alike.get((split, pixels), {})
        other = next((other for other in same if other != label), None)
        leak = next((alike[before, pixels] for before in _BEFORE[split] if (before, pixels) in alike), None)
        done = "kept" if split == "test" else "left out"
        if place in unusable:
            found[place] = Finding(name, split, "unusable", unusable[place], "left out")
        elif rules.constant and place in seen.constant:
            found[place] = Finding(name, split, "constant", f"every pixel is {seen.constant[place]}", done)
        elif rules.max_aspect and aspects[place] > rules.max_aspect:
            found[place] = Finding(name, split, "aspect", f"one side is {aspects[place]:.3g} times the other", done)
        elif rules.leak and leak:
            found[place] = Finding(name, split, "leak", f"the same pixels as {next(iter(leak.values()))}", done)
        elif rules.conflict and other is not None:
            detail = f"labelled {classes[label]}, but the same pixels as {same[other]}, labelled {classes[other]}"
            found[place] = Finding(name, split, "conflict", detail, done)
        elif rules.duplicate and same.get(label, name) != name:
            found[place] = Finding(name, split, "duplicate", f"the same pixels as {same[label]}", done)
    return found | _rare(samples, found, classes, rules.min_class_size)


def _row(samples: Samples, place: int) -> tuple[str, int, str]:
    """Id, label and split of one picture."""
    return samples.ids.item(place), samples.labels.item(place), samples.splits.item(place)


def _rare(samples: Samples, found: Mapping[int, Finding], classes: Sequence[str], least: int) -> dict[int, Finding]:
    """A finding for each picture, of any split, whose class has too few training pictures once what was found is left out."""
    kept = samples.splits != ""
    kept[list(_left_out(found))] = False
    counts = np.bincount(samples.labels[kept & (samples.splits == "train")], minlength=len(classes))
    rare = {}
    for place in np.flatnonzero(kept & (counts < least)[samples.labels]).tolist():
        name, label, split = _row(samples, place)
        rare[place] = Finding(
            name,
            split,
            "rare",
            f"the class {classes[label]} has fewer than {least} training pictures: {counts[label]}",
            "left out",
        )
    return rare


def _left_out(found: Mapping[int, Finding]) -> dict[int, str]:
    """The rules by which pictures are left out, by their places."""
    return {place: finding.rule for place, finding in found.items() if finding.done == "left out"}


def distinct(samples: Samples, seen: Survey) -> np.ndarray:
    """The places (n,) int64 of the pictures in a split, but for those of one colour; of those with the same pixels the first."""
    chosen = samples.splits != ""
    chosen[list(seen.constant)] = False
    places = np.flatnonzero(chosen)
    return places[np.sort(np.unique(seen.firsts[places], return_index=True)[1])]


def near_leaks(samples: Samples, seen: Survey, pairs: pd.DataFrame) -> dict[int, Finding]:
    """Which pictures to leave out, by their places, as near duplicates of others: of validation if those are of the test set, of training if of either.

    `pairs` as of `duplicates.near`, among `distinct` pictures; what holds for a picture holds for all with the same pixels. A
    training picture near to a validation picture that is left out itself stays.
    """
    alike: dict[int, list[int]] = {}  # those with the pixels of a picture in a pair
    named = np.isin(seen.firsts, seen.firsts[pairs[["first", "second"]].to_numpy(np.int64)])
    for place in np.flatnonzero(named & (samples.splits != "")).tolist():
        alike.setdefault(seen.firsts.item(place), []).append(place)
    found: dict[int, Finding] = {}
    for split in ("val", "train"):
        for first, second, difference in pairs[["first", "second", "difference"]].itertuples(index=False):
            for one, other in ((first, second), (second, first)):
                against = (
                    place
                    for place in alike[seen.firsts[other]]
                    if samples.splits[place] in _BEFORE[split] and place not in found
                )
                if (near := next(against, None)) is None:
                    continue
                for place in alike[seen.firsts[one]]:
                    if samples.splits[place] == split and place not in found:
                        detail = f"differs from {samples.ids[near]} by {difference:.2f} grey levels"
                        found[place] = Finding(samples.ids.item(place), split, "near_leak", detail, "left out")
    return {place: found[place] for place in sorted(found)}


def leave_out(
    samples: Samples, found: Mapping[int, Finding], classes: Sequence[str]
) -> tuple[Samples, tuple[str, ...]]:
    """The samples with those that are left out in no split, and the classes that remain, which the labels now count.

    Raises DarkroomError where a class is left without a training picture though none of it is too rare, or where fewer than
    two classes remain.
    """
    gone = _left_out(found)
    kept = samples.moved(np.array(list(gone), dtype=np.int64), "")
    counts = np.bincount(samples.labels[kept.within("train")], minlength=len(classes))
    rare = {samples.labels.item(place) for place, rule in gone.items() if rule == "rare"}
    for label, name in enumerate(classes):
        if label not in rare and not counts[label]:
            had = np.flatnonzero((samples.labels == label) & (samples.splits == "train")).tolist()
            rules = Counter(gone[place] for place in had if place in gone)
            reasons = ", ".join(f"{count} {rule}" for rule, count in rules.items()) or "none"
            raise DarkroomError(
                f"The class {name!r} has no training picture left: it had {len(had)}, of which were left out: {reasons}; "
                "add pictures of it to the dataset, switch the rule off in preprocess.clean, or leave small classes out with its min_class_size."
            )
    remaining = [label for label in range(len(classes)) if label not in rare]
    if len(remaining) < 2:
        raise DarkroomError(
            "Fewer than two classes have enough training pictures: lower preprocess.clean.min_class_size, or add pictures."
        )
    return replace(kept, labels=np.searchsorted(remaining, samples.labels)), tuple(
        classes[label] for label in remaining
    )


def refuse_too_many(unusable: Mapping[int, str], samples: Samples, most: float) -> None:
    """Raises DarkroomError where more than the share `most` of the pictures are unusable, with a few of them."""
    if len(unusable) <= most * len(samples):
        return
    some = "; ".join(f"{samples.ids[place]} ({reason})" for place, reason in list(unusable.items())[:3])
    raise DarkroomError(
        f"{len(unusable)} of {len(samples)} pictures cannot be used, more than preprocess.max_bad_fraction = {most:g} allows: {some}"
        f"{'; ...' if len(unusable) > 3 else ''}. Repair or remove them, or raise the limit."
    )
