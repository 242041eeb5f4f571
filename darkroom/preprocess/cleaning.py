"""Find examples that should not be trained on, and remove them.

Examples are removed from training, and from validation if they are also in the test set. The test set is kept as
published, so that results stay comparable: only images that cannot be decoded are removed from it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.preprocess.config import CleanConfig
from darkroom.preprocess.samples import NO_LABEL, Samples

REMOVED, KEPT, RELABELLED, LABELLED = "removed", "kept", "relabelled", "labelled"  # the actions of a finding

_DIGEST_BYTES = 16  # enough to rule out collisions
_MUST_NOT_OVERLAP = {"train": ("val", "test"), "val": ("test",), "test": ()}  # by split: an overlap would be a leak


@dataclass(frozen=True)
class Finding:
    """A problem with one image, and the action taken."""

    id: str
    split: str
    rule: str  # see `find_problems`, `find_near_leaks` and `relabel.findings`
    detail: str
    action: str  # REMOVED, KEPT, RELABELLED or LABELLED


@dataclass(frozen=True)
class Scan:
    """Results of one pass over the contents of all examples."""

    first_equal: np.ndarray  # (N,) int64: index of the first example with equal contents, possibly the example itself
    constant: Mapping[int, str] = field(default_factory=dict)  # index -> colour, for images of a single colour
    same: str = "same pixels"  # what equal examples have in common
    difference: str = "of the contrast"  # what differences of near copies are a fraction of


def scan_pixels(blocks: Iterable[np.ndarray]) -> Scan:
    """Scan all images once, in blocks (n, H, W, C) uint8. Memory grows by one digest per image."""
    digests, constant = bytearray(), {}
    for block in blocks:
        start = len(digests) // _DIGEST_BYTES
        for row in np.flatnonzero((block[:, 0] == block[:, 0, :1]).all(axis=(1, 2))).tolist():  # few have such a line
            if (block[row] == block[row, 0, 0]).all():
                constant[start + row] = " ".join(map(str, block[row, 0, 0]))
        for image in block:
            digests += hashlib.blake2b(image.tobytes(), digest_size=_DIGEST_BYTES).digest()
    values = np.frombuffer(digests, f"S{_DIGEST_BYTES}")
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return Scan(first[inverse], constant)


def find_problems(
    samples: Samples,
    scan: Scan,
    undecodable: Mapping[int, str],
    aspects: np.ndarray,
    classes: Sequence[str],
    rules: CleanConfig,
) -> dict[int, Finding]:
    """Apply the enabled rules to all samples that are in a split; return the findings by index.

    An image that breaks several rules is reported for the first one, in this order:

    unusable:  the file cannot be decoded; `undecodable` holds the reason by index.
    constant:  all pixels have the same colour.
    aspect:    the aspect ratio of the original is too large; `aspects` (N,) float64 holds the ratios, at least 1.
    leak:      a training image has the same pixels as a validation or test image, or a validation image as a test one.
    conflict:  images with the same pixels in the same split have different labels. All of them are reported, because it
               is unknown which label is correct.
    duplicate: an earlier image in the same split has the same pixels and the same label.
    rare:      the class has fewer than `min_class_size` training images left.
    """
    is_copied = (np.bincount(scan.first_equal) > 1)[scan.first_equal]
    usable = samples.splits != ""
    usable[list(undecodable)] = False
    copies: dict[tuple[str, int], dict[int, str]] = {}  # (split, pixels) -> label -> id of the first such image
    for index in np.flatnonzero(usable & is_copied).tolist():
        name, label, split = _row(samples, index)
        copies.setdefault((split, scan.first_equal.item(index)), {}).setdefault(label, name)

    suspect = is_copied | (aspects > (rules.max_aspect or np.inf))
    suspect[[*undecodable, *scan.constant]] = True
    findings: dict[int, Finding] = {}
    for index in np.flatnonzero(suspect & (samples.splits != "")).tolist():
        (name, label, split), pixels = _row(samples, index), scan.first_equal.item(index)
        same = copies.get((split, pixels), {})
        other = next((other for other in same if other != label), None)
        leak = next((copies[part, pixels] for part in _MUST_NOT_OVERLAP[split] if (part, pixels) in copies), None)
        action = KEPT if split == "test" else REMOVED
        if index in undecodable:
            findings[index] = Finding(name, split, "unusable", undecodable[index], REMOVED)
        elif rules.constant and index in scan.constant:
            findings[index] = Finding(name, split, "constant", f"every pixel is {scan.constant[index]}", action)
        elif rules.max_aspect and aspects[index] > rules.max_aspect:
            findings[index] = Finding(name, split, "aspect", f"aspect ratio {aspects[index]:.3g}", action)
        elif rules.leak and leak:
            findings[index] = Finding(name, split, "leak", f"{scan.same} as {next(iter(leak.values()))}", action)
        elif rules.conflict and other is not None:
            detail = f"labelled {classes[label]}, {scan.same} as {same[other]}, labelled {classes[other]}"
            findings[index] = Finding(name, split, "conflict", detail, action)
        elif rules.duplicate and same.get(label, name) != name:
            findings[index] = Finding(name, split, "duplicate", f"{scan.same} as {same[label]}", action)
    return findings | _find_rare(samples, findings, classes, rules.min_class_size)


def _row(samples: Samples, index: int) -> tuple[str, int, str]:
    """Id, label and split of one image."""
    return samples.ids.item(index), samples.labels.item(index), samples.splits.item(index)


def labelled(findings: Iterable[Finding]) -> set[str]:
    """The ids of the unlabelled examples that people gave a label."""
    return {finding.id for finding in findings if finding.action == LABELLED}


def _find_rare(
    samples: Samples, findings: Mapping[int, Finding], classes: Sequence[str], min_class_size: int
) -> dict[int, Finding]:
    """A finding for every image whose class has too few training images after the removals in `findings`."""
    kept = samples.splits != ""
    kept[list(_removed(findings))] = False
    counts = np.bincount(samples.labels[kept & (samples.splits == "train")], minlength=len(classes))
    rare = {}
    for index in np.flatnonzero(kept & (counts < min_class_size)[samples.labels]).tolist():
        name, label, split = _row(samples, index)
        left = counted(counts.item(label), "training example")
        detail = f"{left} of the class {classes[label]}, min_class_size is {min_class_size}"
        rare[index] = Finding(name, split, "rare", detail, REMOVED)
    return rare


def _removed(findings: Mapping[int, Finding]) -> dict[int, str]:
    """Rule by index of the images to remove."""
    return {index: finding.rule for index, finding in findings.items() if finding.action == REMOVED}


def unique_indices(samples: Samples, scan: Scan) -> np.ndarray:
    """Indices (n,) int64 of the images in a split, without constant images and exact duplicates."""
    chosen = samples.splits != ""
    chosen[list(scan.constant)] = False
    indices = np.flatnonzero(chosen)
    return indices[np.sort(np.unique(scan.first_equal[indices], return_index=True)[1])]


def find_near_leaks(samples: Samples, scan: Scan, pairs: pd.DataFrame) -> dict[int, Finding]:
    """Find validation images that nearly equal a test image, and training images that nearly equal one of either.

    `pairs` is the result of `duplicates.find_pairs` on `unique_indices`; a pair stands for all images with the same
    pixels. Only images of the same class leak: images of one scene nearly equal each other in every class. A training
    image near a validation image that is itself removed is kept. Returns the findings by index, in order.
    """
    copies: dict[int, list[int]] = {}  # pixels -> indices of the images with them, for the images in a pair
    in_pair = np.isin(scan.first_equal, scan.first_equal[pairs[["first", "second"]].to_numpy(np.int64)])
    for index in np.flatnonzero(in_pair & (samples.splits != "")).tolist():
        copies.setdefault(scan.first_equal.item(index), []).append(index)
    findings: dict[int, Finding] = {}
    for split in ("val", "train"):
        columns = ["first", "second", "difference", "mirrored"]
        for first, second, difference, mirrored in pairs[columns].itertuples(index=False):
            for one, other in ((first, second), (second, first)):
                leaked: dict[int, str] = {}  # label -> id of the first image that must not be in training
                for index in copies[scan.first_equal[other]]:
                    if samples.splits[index] in _MUST_NOT_OVERLAP[split] and index not in findings:
                        leaked.setdefault(samples.labels.item(index), samples.ids.item(index))
                for index in copies[scan.first_equal[one]]:
                    name, label, current = _row(samples, index)
                    if current == split and label in leaked and index not in findings:
                        near = f"the mirror image of {leaked[label]}" if mirrored else leaked[label]
                        detail = f"differs from {near} by {100 * difference:.1f} % {scan.difference}"
                        findings[index] = Finding(name, split, "near_leak", detail, REMOVED)
    return {index: findings[index] for index in sorted(findings)}


def remove(
    samples: Samples, findings: Mapping[int, Finding], classes: Sequence[str]
) -> tuple[Samples, tuple[str, ...]]:
    """Take the images to remove out of their splits; return the samples and the remaining classes.

    The labels are renumbered for the remaining classes. Raises DarkroomError if a class that is not rare has no
    training image left, or if fewer than two classes remain.
    """
    removed = _removed(findings)
    kept = samples.move(np.array(list(removed), dtype=np.int64), "")
    counts = np.bincount(samples.labels[kept.indices("train")], minlength=len(classes))
    rare = {samples.labels.item(index) for index, rule in removed.items() if rule == "rare"}
    for label, name in enumerate(classes):
        if label not in rare and not counts[label]:
            before = np.flatnonzero((samples.labels == label) & (samples.splits == "train")).tolist()
            rules = Counter(removed[index] for index in before if index in removed)
            reasons = ", ".join(f"{count} {rule}" for rule, count in rules.items()) or "0"
            raise DarkroomError(
                f"The class {name!r} has no training example left: removed {reasons} of {len(before)}. "
                "Add examples of it, disable the rule in preprocess.clean, or raise preprocess.clean.min_class_size."
            )
    remaining = [label for label in range(len(classes)) if label not in rare]
    if len(remaining) < 2:
        raise DarkroomError(
            f"{len(remaining)} of {counted(len(classes), 'class')} with enough training examples, at least 2 are "
            "needed: lower preprocess.clean.min_class_size, or add examples."
        )
    labels = np.where(samples.labels == NO_LABEL, NO_LABEL, np.searchsorted(remaining, samples.labels))
    return replace(kept, labels=labels), tuple(classes[label] for label in remaining)


def check_decoded(undecodable: Mapping[int, str], samples: Samples, max_bad_fraction: float) -> None:
    """Raise DarkroomError, with a few examples, if more than `max_bad_fraction` of the images cannot be decoded."""
    if len(undecodable) <= max_bad_fraction * len(samples):
        return
    examples = [f"{samples.ids[index]} ({reason})" for index, reason in list(undecodable.items())[:3]]
    more = "; ..." if len(undecodable) > len(examples) else ""
    raise DarkroomError(
        f"{len(undecodable)} of {counted(len(samples), 'example')} cannot be used, and preprocess.max_bad_fraction "
        f"is {max_bad_fraction:g}: {'; '.join(examples)}{more}. Repair or remove them, or raise the limit."
    )
