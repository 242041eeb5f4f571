"""Measure what TPE and pruning bring: against random search of the same space, after equal training seconds.

Needs the output of `dvc repro preprocess`. First it trains `--configurations` random samples of the space completely,
and records the validation accuracy after each epoch. Then each strategy searches among these samples, `--repeats`
times with another seed, and every training is looked up instead of run. This gives far more repeats than live searches
could. Dong and Yang, "NAS-Bench-201", 2020.

All strategies have the same budget: the seconds of `--trials` complete trainings. TPE may propose any point of the
space; the nearest sample that was not tried yet stands for it, and TPE learns that sample's result. Since the samples
are few, TPE can gain less here than in a live search. Accuracies are those of one training on the validation set.

The trainings are stored in .darkroom/benchmark-search, so the same command goes on after an interruption. The recipe
sprint has too few epochs for pruning, so `--epochs` sets their number.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState
from tqdm import tqdm

from benchmarks.command import parser
from benchmarks.tables import markdown
from darkroom.core import arrays, processor
from darkroom.core.randomness import numpy_generator
from darkroom.search import running, sampling, storage, trials
from darkroom.search.description import Choices, Range
from darkroom.search.opened import Opened
from darkroom.search.space import Sample, Space
from darkroom.statistics.intervals import mean_interval

FOLDER, STUDY = Path(".darkroom/benchmark-search"), "trainings"
STRATEGIES = {  # name -> sampler, whether it prunes
    "random": ("random", False),
    "random, pruning": ("random", True),
    "TPE": ("tpe", False),
    "TPE, pruning": ("tpe", True),
}
COLUMNS = (
    "strategy",
    "best accuracy, %",
    "difference from random, points (95 % interval)",
    "higher, equal, lower",
    "samples tried",
)


@dataclass(frozen=True)
class Training:
    """A recorded training: its sample, the validation accuracy after each epoch, and the seconds of an epoch."""

    sample: Sample
    accuracies: list[float]
    epoch_seconds: float


def main() -> None:
    options = parser("search", __doc__)
    options.add_argument("file", nargs="?", default="searches/sprint.yaml", help="the search file")
    options.add_argument("--configurations", type=int, default=70, help="samples that are trained")
    options.add_argument("--epochs", type=float, default=4.0, help="epochs of a complete training")
    options.add_argument("--trials", type=int, default=12, help="complete trainings whose seconds are the budget")
    options.add_argument("--repeats", type=int, default=100, help="searches per strategy")
    chosen = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = Opened(Path(chosen.file), None, chosen.configurations, None)
    manifest = arrays.read_manifest("data/arrays")
    table = record(opened, manifest, chosen.configurations, chosen.epochs)
    budget = chosen.trials * statistics.fmean(len(one.accuracies) * one.epoch_seconds for one in table)
    found = {
        name: [
            search(table, opened.space, kind, prunes, seed, budget)
            for seed in tqdm(range(chosen.repeats), desc=name, disable=None)
        ]
        for name, (kind, prunes) in STRATEGIES.items()
    }
    print(f"\n{manifest.title}, {processor.describe()}; {chosen.file}, {chosen.epochs:g} epochs")
    print(f"{len(table)} recorded trainings; {chosen.repeats} searches of {budget:.0f} s of training each\n")
    print(markdown(COLUMNS, [row(name, found[name], found["random"], budget) for name in STRATEGIES]))
    for name in ("random", "TPE"):
        print(saved(f"{name}, pruning", found[f"{name}, pruning"], found[name], budget))
    print(saved("TPE, pruning", found["TPE, pruning"], found["random"], budget, "random search"))


def record(opened: Opened, manifest: arrays.Manifest, count: int, epochs: float) -> list[Training]:
    """Train `count` random samples of the space; those that are stored are not trained again."""
    unlabelled = arrays.read_unlabelled("data/arrays")
    data = trials.Data(manifest, *(arrays.read_split("data/arrays", name) for name in ("train", "val")), unlabelled)
    values = opened.space.params({"train.epochs": epochs, "train.min_steps": 0})
    space = Space(opened.space.parameters, opened.space.conditions, values)
    folder = FOLDER / f"{opened.name}-{epochs:g}"
    folder.mkdir(parents=True, exist_ok=True)
    stored = storage.open_study(storage.open_journal(folder / storage.JOURNAL), STUDY, 1, write=True)
    storage.require_same_space(stored, {**space.identity(), "data": manifest.sha256}, opened.file.as_posix())
    storage.recover(stored)
    stored.sampler, stored.pruner = sampling.Sampler("random", values["seed"]), sampling.pruner(False)
    settings = opened.search.model_copy(update={"sampler": "random", "pruning": False, "hours": None})
    objective = trials.Trials(settings, space, data, folder, "")
    running.search(stored, objective, settings, lambda study, _: objective.tidy(study))
    return [
        Training(
            trial.user_attrs[trials.SAMPLE],
            [one["val_accuracy"] for one in trial.user_attrs[trials.RECORDS]],
            trial.user_attrs[trials.SECONDS] / len(trial.user_attrs[trials.RECORDS]),
        )
        for trial in storage.in_state(stored, TrialState.COMPLETE)[:count]
    ]


def search(
    table: Sequence[Training], space: Space, kind: sampling.Kind, prunes: bool, seed: int, budget: float
) -> list[tuple[float, float]]:
    """One search among the recorded trainings: seconds spent and best accuracy, after each trial within the budget.

    The best is that of complete trainings, as in a live search.
    """
    study = optuna.create_study(
        direction="maximize", sampler=sampling.Sampler(kind, seed), pruner=sampling.pruner(prunes)
    )
    waiting = numpy_generator(seed, "benchmark-search").permutation(len(table)).tolist()
    spent, best, history = 0.0, 0.0, []
    while waiting:
        index = waiting[0] if kind == "random" else _proposed(study, space, table, waiting)
        waiting.remove(index)
        accuracies, seconds = table[index].accuracies, table[index].epoch_seconds
        study.enqueue_trial(table[index].sample)
        trial = study.ask()
        space.suggest(trial)
        for epoch, accuracy in enumerate(accuracies, 1):
            spent += seconds
            trial.report(accuracy, epoch)
            if epoch < len(accuracies) and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, accuracies[-1])
            best = best if spent > budget else max(best, accuracies[-1])
        if spent > budget:
            break
        history.append((spent, best))
    return history


def row(
    name: str, found: Sequence[list[tuple[float, float]]], random: Sequence[list[tuple[float, float]]], budget: float
) -> list[str]:
    """A line of the table; repeats with the same seed are compared."""
    ends = [[history[-1][1] if history else 0.0 for history in some] for some in (found, random)]
    differences = 100 * (np.array(ends[0]) - np.array(ends[1]))
    low, high = mean_interval(differences)
    compared = [int((differences > 0).sum()), int((differences == 0).sum()), int((differences < 0).sum())]
    tried = statistics.fmean(len(history) for history in found)
    difference = "" if found is random else f"{differences.mean():+.2f} ({low:+.2f} to {high:+.2f})"
    return [
        name,
        f"{100 * statistics.fmean(ends[0]):.2f}",
        difference,
        "" if found is random else ", ".join(map(str, compared)),
        f"{tried:.1f}",
    ]


def saved(
    name: str,
    found: Sequence[list[tuple[float, float]]],
    other: Sequence[list[tuple[float, float]]],
    budget: float,
    what: str = "the same without pruning",
) -> str:
    """A sentence: the seconds that a strategy needs for the accuracy of another one, and those this one needed."""
    fractions = []
    for one, reference in zip(found, other, strict=True):
        target = reference[-1][1] if reference else 0.0
        needed = next(seconds for seconds, best in reference if best == target) if reference else budget
        reached = next((seconds for seconds, best in one if best >= target), None)
        fractions.append(float("inf") if reached is None else reached / needed)
    missed = sum(fraction == float("inf") for fraction in fractions)
    return (
        f"{name}: reaches the best accuracy of {what} after a median of {statistics.median(fractions):.0%} of the "
        f"seconds that this one needed for it; not within the budget in {missed} of {len(fractions)} repeats."
    )


def _proposed(study: optuna.Study, space: Space, table: Sequence[Training], waiting: Sequence[int]) -> int:
    """The waiting training that is nearest to the point that the sampler proposes."""
    trial = study.ask()
    point = space.suggest(trial)
    study.tell(trial, state=TrialState.FAIL)  # samplers ignore it
    return min(waiting, key=lambda index: distance(point, table[index].sample, space.parameters))


def distance(one: Sample, other: Sample, parameters: Mapping[str, Range | Choices]) -> float:
    """The squared distance of two samples; each range has length 1, and different choices are 1 apart."""
    total = 0.0
    for name, entry in parameters.items():
        if name not in one or name not in other:
            total += float((name in one) != (name in other))
        elif isinstance(entry, Choices):
            total += float(one[name] != other[name])
        else:
            low, high, first, second = entry.low, entry.high, one[name], other[name]
            if entry.log:
                low, high, first, second = np.log([low, high, first, second])
            total += ((first - second) / (high - low)) ** 2
    return total


if __name__ == "__main__":
    main()
