"""Find unlabelled images that should not be learned from.

The rules are those of training images (darkroom/preprocess/cleaning.py), as far as they need no label. So a near copy
of a validation or test image is found whatever it shows.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from darkroom.core.arrays import UNLABELLED
from darkroom.core.spelling import counted
from darkroom.preprocess.cleaning import REMOVED, Finding, Scan
from darkroom.preprocess.config import CleanConfig
from darkroom.preprocess.samples import Samples

MANY_LEAKS = 0.25  # fraction of the unlabelled images from which on a warning asks whether they are the test set


def find_problems(
    samples: Samples, scan: Scan, undecodable: Mapping[int, str], aspects: np.ndarray, rules: CleanConfig
) -> dict[int, Finding]:
    """Apply the rules to the unlabelled images, in the order of their ids; return the findings by index.

    unusable, constant, aspect: as in `cleaning.find_problems`.
    leak:      the image has the same pixels as a validation or test image, or belongs to a group that is held out.
    duplicate: the image has the same pixels as a training image, or as an unlabelled one with an earlier id.
    """
    unlabelled = samples.indices(UNLABELLED)
    held_out, train = (np.isin(samples.splits, splits) for splits in (["val", "test"], ["train"]))
    leaks = _first_ids(samples, scan, held_out) if rules.leak else {}
    known = _first_ids(samples, scan, train) if rules.duplicate else {}
    groups = set(samples.groups[held_out].tolist()) - {""}
    findings: dict[int, Finding] = {}
    for index in unlabelled[np.argsort(samples.ids[unlabelled])].tolist():
        name, pixels = samples.ids.item(index), scan.first_equal.item(index)
        problem: tuple[str, str] | None = None
        if index in undecodable:
            problem = "unusable", undecodable[index]
        elif rules.constant and index in scan.constant:
            problem = "constant", f"every pixel is {scan.constant[index]}"
        elif rules.max_aspect and aspects[index] > rules.max_aspect:
            problem = "aspect", f"aspect ratio {aspects[index]:.3g}"
        elif pixels in leaks:
            problem = "leak", f"{scan.same} as {leaks[pixels]}"
        elif samples.groups.item(index) in groups:
            problem = "leak", "its group is held out"
        elif pixels in known:
            problem = "duplicate", f"{scan.same} as {known[pixels]}"
        elif rules.duplicate:
            known[pixels] = name
        if problem:
            findings[index] = Finding(name, UNLABELLED, *problem, REMOVED)
    return findings


def find_near_leaks(samples: Samples, scan: Scan, pairs: pd.DataFrame) -> dict[int, Finding]:
    """Find unlabelled images that nearly equal a validation or test image; return the findings by index, by id.

    `pairs` is the result of `duplicates.find_pairs`; a pair stands for all images with the same pixels.
    """
    held_out = _first_ids(samples, scan, np.isin(samples.splits, ["val", "test"]))
    copies: dict[int, list[int]] = {}  # pixels -> indices of the unlabelled images with them
    for index in samples.indices(UNLABELLED).tolist():
        copies.setdefault(scan.first_equal.item(index), []).append(index)
    findings: dict[int, Finding] = {}
    columns = ["first", "second", "difference", "mirrored"]
    for first, second, difference, mirrored in pairs[columns].itertuples(index=False):
        for one, other in ((first, second), (second, first)):
            leaked = held_out.get(scan.first_equal.item(other))
            for index in copies.get(scan.first_equal.item(one), []) if leaked else []:
                near = f"the mirror image of {leaked}" if mirrored else leaked
                detail = f"differs from {near} by {100 * difference:.1f} % {scan.difference}"
                name = samples.ids.item(index)
                findings.setdefault(index, Finding(name, UNLABELLED, "near_leak", detail, REMOVED))
    return dict(sorted(findings.items(), key=lambda found: found[1].id))


def warning(count: int, findings: Iterable[Finding]) -> str:
    """What is wrong if many of `count` unlabelled examples are held-out ones, or if none is left; else ""."""
    removed = [finding.rule for finding in findings if finding.split == UNLABELLED]
    leaks = sum(rule in ("leak", "near_leak") for rule in removed)
    total = counted(count, "unlabelled example")
    if leaks > MANY_LEAKS * count:
        return f"{leaks:,} of {total} are validation or test examples and were removed: do they contain the test set?"
    return f"all of {total} were removed: metrics/data/findings.csv has the reasons" if count == len(removed) else ""


def _first_ids(samples: Samples, scan: Scan, chosen: np.ndarray) -> dict[int, str]:
    """Pixels -> id of the first image with them among those of the mask `chosen` (N,)."""
    first: dict[int, str] = {}
    for index in np.flatnonzero(chosen).tolist():
        first.setdefault(scan.first_equal.item(index), samples.ids.item(index))
    return first
