"""Select the examples of each split: correct labels, split, clean, and check that the result can be used.

The labelled examples are selected first, as if there were no others: unlabelled ones change neither the validation and
test split nor what is removed from them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from darkroom.core.arrays import UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.datasets.descriptions import Dataset
from darkroom.preprocess import cleaning, cold_start, duplicates, hiding, relabel, unlabelled
from darkroom.preprocess.cleaning import REMOVED, Finding, Scan
from darkroom.preprocess.cold_start import ColdStart
from darkroom.preprocess.config import CleanConfig, PreprocessConfig
from darkroom.preprocess.relabel import Verdict
from darkroom.preprocess.samples import NO_LABEL, Samples
from darkroom.preprocess.splits import hold_out

# Near leaks are rare. If there are more, the images share a scene, or are copies of each other.
MAX_NEAR_LEAK_FRACTION = 0.25  # of the training or validation split, or of the training examples of a class
MIN_NEAR_LEAKS = 5  # near leaks that are always removed, as long as the splits keep two classes

_REMEDIES = {
    "unusable": "repair the files",
    "aspect": "raise preprocess.clean.max_aspect",
    "near_leak": "lower preprocess.clean.near_leak_difference (0 turns the rule off)",
    "rare": "lower preprocess.clean.min_class_size",
    "relabelled": "correct the file that preprocess.relabel names",
}  # by rule; the other rules are switches


@dataclass(frozen=True)
class Selection:
    """The selected samples and what was found on the way."""

    samples: Samples
    classes: tuple[str, ...]  # without rare ones; the labels are numbered accordingly
    findings: Sequence[Finding]
    near_duplicates: pd.DataFrame  # see `duplicates.pair_table`
    warning: str = ""  # what is wrong with the unlabelled examples


class Examples(Protocol):
    """The examples of a dataset, of any kind, after one pass over their contents."""

    description: Dataset
    samples: Samples
    scan: Scan
    unusable: Mapping[int, str]  # index -> why the contents cannot be used
    aspects: np.ndarray  # (N,) float64: longer side of an image / shorter side, or 1

    def near_duplicates(self, chosen: np.ndarray, max_difference: float) -> pd.DataFrame:
        """Pairs of the examples at `chosen` (n,) that nearly equal each other, as `duplicates.find_pairs` has them."""
        ...


def select(examples: Examples, settings: PreprocessConfig, seed: int) -> Selection:
    """Select the examples of each split.

    Raises DarkroomError if a class has no training examples left, if the validation or test split has fewer than two
    classes left, if there are too many near leaks, or if there are fewer labels than `labels_per_class`. A split that
    the dataset has is never replaced by another one. If classes have no labelled training examples of their own, and
    people have labelled too few, none is held out, and `samples.cold_start` says what is missing.
    """
    listed, classes = examples.samples, examples.description.classes
    cold = cold_start.find(listed, examples.description, settings.test_fraction, settings.val_fraction)
    hides = settings.labels_per_class != "all"
    names = hiding.hidden_ids(listed.ids, seed) if hides else listed.ids[:0]
    known = [*listed.ids.tolist(), *names.tolist()]
    verdicts = relabel.read(known, examples.description.folder, settings.relabel, classes)
    own = {index: verdict for index, verdict in verdicts.items() if index < len(listed)}
    without = relabel.leave_out(relabel.apply(listed, own), own).indices(UNLABELLED)
    incomplete = cold.shortage(relabel.apply(listed, own), relabel.newly_labelled(listed, own))
    facts = {"drawn": cold.fractions, "incomplete": incomplete}
    if incomplete:
        return _without_splits(examples, own, settings.clean, facts)
    selected, last = _select_labelled(examples, own, cold, settings, seed)
    selected = replace(selected, samples=replace(selected.samples, cold_start=facts))
    selected = replace(selected, samples=selected.samples.move(without, UNLABELLED))
    hidden = without[:0]
    if hides:
        left_out = [index for index, verdict in own.items() if verdict.label == NO_LABEL]
        candidates = np.setdiff1d(np.flatnonzero(last == "train"), left_out)
        wanted = settings.labels_per_class, selected.classes, seed
        hidden = hiding.choose(selected.samples, candidates, examples.scan.first_equal, *wanted)
        ids = set(selected.samples.ids[hidden].tolist())
        visible = [finding for finding in selected.findings if finding.id not in ids]
        selected = replace(selected, samples=hiding.hide(selected.samples, hidden, names), findings=visible)
    if len(without) or len(hidden):
        selected = _clean_unlabelled(selected, examples, settings.clean)
        selected = replace(selected, samples=hiding.forget_groups(selected.samples, hidden))
    answers = {index - len(listed): verdict for index, verdict in verdicts.items() if index not in own}
    return _label_hidden(selected, {index: answers[index] for index in hidden.tolist() if index in answers}, classes)


def _select_labelled(
    examples: Examples, verdicts: Mapping[int, Verdict], cold: ColdStart, settings: PreprocessConfig, seed: int
) -> tuple[Selection, np.ndarray]:
    """Select among the labelled examples; also returns the last split (N,) of each. The others are in no split."""
    classes, rules = examples.description.classes, settings.clean
    listed, scan, undecodable = examples.samples, examples.scan, examples.unusable
    given = set(np.unique(listed.splits).tolist())
    relabelled = relabel.apply(listed, verdicts)
    relabelled = relabelled.move(relabelled.indices(UNLABELLED), "")
    newly_labelled = relabel.newly_labelled(listed, verdicts)
    fixed = {*undecodable, *newly_labelled.tolist()}  # only `cold` holds some of them out
    tested = relabelled = cold.hold_out(relabelled, newly_labelled)
    if "test" not in given:
        fraction = settings.test_fraction
        tested = hold_out(relabelled, "test", fraction, classes, seed, rules.min_class_size, fixed, cold.without)
    tested = relabel.leave_out(tested, verdicts)
    problems = cleaning.find_problems(tested, scan, undecodable, examples.aspects, classes, rules)
    samples, remaining = cleaning.remove(tested, problems, classes)
    if "val" not in given:
        samples = hold_out(samples, "val", settings.val_fraction, remaining, seed, 0, fixed, cold.without)
    shared = relabel.group_leaks(samples, newly_labelled)
    samples, remaining = cleaning.remove(samples, shared, remaining)
    last = _last_splits(listed, tested, samples)
    corrections = relabel.findings(listed, tested, verdicts, last, classes)
    findings = [*corrections.values(), *problems.values(), *shared.values()]
    check_splits(samples, findings, remaining)

    unique = cleaning.unique_indices(samples, scan)
    pairs = examples.near_duplicates(unique, rules.near_leak_difference)
    near_duplicates = duplicates.pair_table(pairs, samples, remaining)
    leaks = cleaning.find_near_leaks(samples, scan, pairs)
    check_near_leaks(samples, leaks, remaining, rules.near_leak_difference)
    last = _last_splits(listed, tested, samples)
    samples, remaining = cleaning.remove(samples, leaks, remaining)
    findings += leaks.values()
    check_splits(samples, findings, remaining)
    return Selection(samples, remaining, findings, near_duplicates), last


def _without_splits(
    examples: Examples, verdicts: Mapping[int, Verdict], rules: CleanConfig, facts: Mapping[str, Any]
) -> Selection:
    """Select all usable examples while there are too few labels to train on: none is held out from training."""
    listed, classes, scan = examples.samples, examples.description.classes, examples.scan
    samples = relabel.leave_out(relabel.apply(listed, verdicts), verdicts)
    without = samples.indices(UNLABELLED)
    known, rules = samples.move(without, ""), rules.model_copy(update={"min_class_size": 0})
    problems = cleaning.find_problems(known, scan, examples.unusable, examples.aspects, classes, rules)
    removed = [index for index, finding in problems.items() if finding.action == REMOVED]
    kept = replace(samples.move(np.array(removed, dtype=np.int64), ""), cold_start=facts)
    corrections = relabel.findings(listed, samples, verdicts, _last_splits(listed, samples), classes)
    pairs = duplicates.pair_table(examples.near_duplicates(without[:0], 0.0), kept, classes)
    selected = Selection(kept, tuple(classes), [*corrections.values(), *problems.values()], pairs)
    cleaned = _clean_unlabelled(selected, examples, rules)
    if not len(cleaned.samples.indices(UNLABELLED)) and not len(cleaned.samples.indices("train")):
        counts = Counter(finding.rule for finding in cleaned.findings).most_common()
        reasons = ", ".join(f"{count} {rule}" for rule, count in counts)
        raise DarkroomError(f"None of {counted(len(listed), 'example')} can be used: {reasons}. Add others.")
    return cleaned


def _clean_unlabelled(selected: Selection, examples: Examples, rules: CleanConfig) -> Selection:
    """Remove unlabelled examples that should not be learned from, and list near duplicates among all examples."""
    scan = examples.scan
    total = len(selected.samples.indices(UNLABELLED))
    problems = unlabelled.find_problems(selected.samples, scan, examples.unusable, examples.aspects, rules)
    samples = selected.samples.move(np.array([*problems], dtype=np.int64), "")
    pairs = examples.near_duplicates(cleaning.unique_indices(samples, scan), rules.near_leak_difference)
    leaks = unlabelled.find_near_leaks(samples, scan, pairs)
    table = duplicates.pair_table(pairs, samples, selected.classes)
    left, found = len(samples.indices(UNLABELLED)), [*problems.values(), *leaks.values()]
    _refuse_many_near_leaks("unlabelled examples", len(leaks), left, rules.near_leak_difference, "remove them")
    return replace(
        selected,
        samples=samples.move(np.array([*leaks], dtype=np.int64), ""),
        findings=[*selected.findings, *found],
        near_duplicates=duplicates.by_name(pd.concat([table, _pairs_of_removed(selected)])),
        warning=unlabelled.warning(total, found),
    )


def _pairs_of_removed(selected: Selection) -> pd.DataFrame:
    """The near duplicates with a labelled example that was removed, without those whose labels are hidden."""
    ids, pairs = selected.samples.ids, selected.near_duplicates
    names, left = pairs[["first", "second"]], ids[selected.samples.splits != ""]
    return pairs[names.isin(ids.tolist()).all(axis=1) & ~names.isin(left.tolist()).all(axis=1)]


def _label_hidden(selected: Selection, verdicts: Mapping[int, Verdict], classes: Sequence[str]) -> Selection:
    """Give hidden examples the labels that people gave to them, as far as their class, one of `classes`, remains."""
    number = {classes.index(name): label for label, name in enumerate(selected.classes)}
    before = selected.samples
    verdicts = {
        index: replace(verdict, label=number.get(verdict.label, NO_LABEL))
        for index, verdict in verdicts.items()
        if before.splits[index] == UNLABELLED and verdict.label in (NO_LABEL, *number)
    }
    after = relabel.leave_out(relabel.apply(before, verdicts), verdicts)
    found = relabel.findings(before, after, verdicts, _last_splits(before, after), selected.classes)
    findings = [*selected.findings, *sorted(found.values(), key=lambda finding: finding.id)]
    return replace(selected, samples=after, findings=findings)


def check_splits(samples: Samples, findings: Iterable[Finding], classes: Sequence[str]) -> None:
    """Raise DarkroomError if the validation or test split has images of fewer than two classes."""
    for split in ("val", "test"):
        indices = samples.indices(split)
        labels = np.unique(samples.labels[indices]).tolist()
        if len(labels) >= 2:
            continue
        rules = Counter(found.rule for found in findings if (found.split, found.action) == (split, REMOVED))
        reasons = ", ".join(f"{count} {rule}" for rule, count in rules.most_common()) or "0"
        left = f"only examples of the class {classes[labels[0]]!r}" if labels else "no examples"
        remedies = [_REMEDIES.get(rule, f"set preprocess.clean.{rule} to false") for rule in rules]
        raise DarkroomError(
            f"The split {split} has {left}: removed {reasons} of {len(indices) + rules.total()}. It needs examples of "
            f"at least two classes: {', '.join([*remedies, 'or add examples' if remedies else 'add examples'])}."
        )


def check_near_leaks(
    samples: Samples, leaks: Mapping[int, Finding], classes: Sequence[str], max_difference: float
) -> None:
    """Raise DarkroomError if a large fraction of a split, or of the training examples of a class, are near leaks."""
    found = np.zeros(len(samples), dtype=bool)
    found[list(leaks)] = True
    is_train, is_val = (samples.splits == split for split in ("train", "val"))
    groups = [("training examples", (found & is_train).sum(), is_train.sum())]
    groups += [("validation examples", (found & is_val).sum(), is_val.sum())]
    names = [f"training examples of the class {name!r}" for name in classes]
    counts = (np.bincount(samples.labels[chosen], minlength=len(classes)) for chosen in (found & is_train, is_train))
    for name, count, total in (*groups, *zip(names, *counts, strict=True)):
        remedy = "give each and its copies one group"
        _refuse_many_near_leaks(name, count, total, max_difference, remedy)


def _refuse_many_near_leaks(name: str, count: int, total: int, max_difference: float, remedy: str) -> None:
    if count > max(MIN_NEAR_LEAKS, MAX_NEAR_LEAK_FRACTION * total):
        raise DarkroomError(
            f"{count} of {total} {name} nearly equal one that is held out, which is more than "
            f"{MAX_NEAR_LEAK_FRACTION:.0%}. If images show one scene, or texts share a template, "
            f"lower preprocess.clean.near_leak_difference = {max_difference:g} (0 turns the rule off). If they are "
            f"copies, {remedy}."
        )


def _last_splits(*tables: Samples) -> np.ndarray:
    """The split (N,) of each image in the last of the tables in which it has one."""
    splits = np.full(len(tables[0]), "", dtype="<U10")
    for table in tables:
        splits = np.where(table.splits == "", splits, table.splits)
    return splits
