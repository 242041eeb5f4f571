"""What is dropped or repaired before the pictures are packed, and the account of it.

Only training pictures are dropped. The official test set stays as it is, so that results compare with other people's.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tqdm import tqdm

from darkroom.arrays import Split
from darkroom.errors import DarkroomError

RULES = ("constant", "leak", "conflict", "duplicate")  # a picture that breaks several is reported for the first

_BLOCK_BYTES = 2**20  # of pixels filtered at a time: a block and what is computed from it stay in the processor's cache


@dataclass(frozen=True)
class Finding:
    """What is wrong with one picture."""

    id: str
    rule: str  # one of RULES
    detail: str


def denoise(images: np.ndarray, method: Literal["none", "median"]) -> np.ndarray:
    """The images (N, H, W, C) uint8 as they are, or each pixel the median of its 3 x 3 neighbours, a channel at a time.

    Border pixels are repeated outwards. The columns of three are sorted first; the median of the nine is then the median
    of the largest low, the middle mid and the smallest high value (A. W. Paeth, "Median finding on a 3 x 3 grid",
    Graphics Gems, 1990).
    """
    if method == "none":
        return images
    filtered = np.empty_like(images)
    block = max(1, _BLOCK_BYTES // images[0].nbytes)
    for start in tqdm(range(0, len(images), block), desc="denoise", unit="block", leave=False, disable=None):
        padded = np.pad(images[start : start + block], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        low, mid, high = _sort3(padded[:, :-2], padded[:, 1:-1], padded[:, 2:])
        lows, mids, highs = (_sort3(row[:, :, :-2], row[:, :, 1:-1], row[:, :, 2:]) for row in (low, mid, high))
        filtered[start : start + block] = _sort3(lows[2], mids[1], highs[0])[1]
    return filtered


def inspect(samples: Split, classes: Sequence[str], test: Split | None = None) -> list[Finding]:
    """What is wrong with which of the samples, in their order, at most one finding each.

    constant:  the whole picture is of one colour.
    leak:      the same pixels are in `test`.
    conflict:  the same pixels appear under another label; nobody knows which is right, so each of them is reported.
    duplicate: the same pixels appeared before, under the same label.
    """
    digests = _digests(samples.images)
    leaks = dict(zip(_digests(test.images), test.ids.tolist(), strict=True)) if test is not None else {}
    ids, labels = samples.ids.tolist(), samples.labels.tolist()
    firsts: dict[bytes, dict[int, str]] = {}  # by pixels and label: the id of the first such picture
    for digest, label, name in zip(digests, labels, ids, strict=True):
        firsts.setdefault(digest, {}).setdefault(label, name)

    findings = []
    for image, digest, label, name in zip(samples.images, digests, labels, ids, strict=True):
        same = firsts[digest]
        other = next((other for other in same if other != label), None)
        if (image == image[0, 0]).all():
            findings.append(Finding(name, "constant", f"every pixel is {' '.join(map(str, image[0, 0]))}"))
        elif digest in leaks:
            findings.append(Finding(name, "leak", f"the same pixels as {leaks[digest]}"))
        elif other is not None:
            findings.append(Finding(name, "conflict", f"labelled {classes[label]}, but the same pixels as {same[other]}, labelled {classes[other]}"))
        elif same[label] != name:
            findings.append(Finding(name, "duplicate", f"the same pixels as {same[label]}"))
    return findings


def drop(samples: Split, findings: Sequence[Finding], classes: Sequence[str]) -> Split:
    """The samples without those found wrong; raises DarkroomError where a class is left without any."""
    keep = ~np.isin(samples.ids, [finding.id for finding in findings])
    for label, name in enumerate(classes):
        of_class = samples.labels == label
        if not (of_class & keep).any():
            members = set(samples.ids[of_class].tolist())
            rules = Counter(finding.rule for finding in findings if finding.id in members)
            reasons = ", ".join(f"{count} {rule}" for rule, count in rules.items()) or "none"
            raise DarkroomError(
                f"The class {name!r} has no training picture left: it had {of_class.sum()}, of which were dropped: {reasons}; "
                "add pictures of it to the dataset, or take the class out of dataset.yaml."
            )
    return samples if keep.all() else Split(samples.images[keep], samples.labels[keep], samples.ids[keep])


def _digests(images: np.ndarray) -> list[bytes]:
    """A digest of each image's bytes; 128 bits, so that no two different images will ever share one."""
    progress = tqdm(images, desc="compare", unit="picture", leave=False, disable=None)
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in progress]


def _sort3(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The least, the middle and the largest of three arrays, element by element."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    return np.minimum(low, c), np.maximum(low, np.minimum(high, c)), np.maximum(high, c)
