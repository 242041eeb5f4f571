"""Measure what Optuna's TPE and pruning bring: against random search of the same space, at equal training seconds.

Needs the output of `dvc repro preprocess`. For each repeat, random search trains `--trials` samples completely; then
TPE with successive halving searches, until it has trained for as many seconds. The accuracy is that of the best trial
so far on the validation set, which decides in a search. It also says after how many seconds TPE with pruning had
reached the final accuracy of random search. Trainings run one at a time in this process. The trials are stored in
.darkroom/benchmark-search, so the same command goes on after an interruption.

The recipe sprint has epochs that are too few for pruning, so `--epochs` sets their number for both.
"""

import statistics
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from benchmarks.command import parser
from benchmarks.tables import markdown
from darkroom.core import arrays, processor
from darkroom.search import running, sampling, space, storage, trials
from darkroom.search.opened import Opened

FOLDER = Path(".darkroom/benchmark-search")
COLUMNS = (
    "repeat",
    "random search, %",
    "TPE and pruning, %",
    "difference, points",
    "seconds",
    "seconds of TPE and pruning until random's accuracy, as a fraction",
)


def main() -> None:
    options = parser("search", __doc__)
    options.add_argument("file", nargs="?", default="searches/sprint.yaml", help="the search file")
    options.add_argument("--repeats", type=int, default=5, help="pairs of searches, each with another seed")
    options.add_argument("--trials", type=int, default=20, help="trials of each random search")
    options.add_argument("--epochs", type=float, default=4.0, help="epochs of a training that is not pruned")
    chosen = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = Opened(Path(chosen.file), None, chosen.trials, None)
    manifest = arrays.read_manifest("data/arrays")
    data = trials.Data(manifest, *(arrays.read_split("data/arrays", name) for name in ("train", "val")))
    rows = []
    for repeat in range(chosen.repeats):
        random = _run(opened, data, repeat, "random", chosen.trials, float("inf"), chosen.epochs)
        budget = sum(trial.user_attrs[trials.SECONDS] for trial in random)
        tpe = _run(opened, data, repeat, "tpe", 10**6, budget, chosen.epochs)
        rows.append(_row(repeat, random, tpe, budget))
        print(f"repeat {repeat}: {rows[-1][1]} against {rows[-1][2]}", flush=True)
    higher = sum(float(row[3]) > 0 for row in rows)
    reached = [float(row[5]) for row in rows if row[5] != "not reached"]
    print(f"\n{manifest.title}, {processor.describe()}; {chosen.file}, {chosen.epochs:g} epochs\n")
    print(markdown(COLUMNS, rows))
    print(f"\nTPE and pruning are better in {higher} of {len(rows)} repeats.")
    if reached:
        saved = 1 - statistics.median(reached)
        print(
            f"Where they reach random's accuracy ({len(reached)} repeats), they save {saved:.0%} of the time (median)."
        )


def _run(
    opened: Opened, data: trials.Data, repeat: int, kind: sampling.Kind, count: int, seconds: float, epochs: float
) -> list[FrozenTrial]:
    """The finished trials of one search that ends after `count` trials or `seconds` of training."""
    name = f"{opened.name}-{epochs:g}-{repeat}-{kind}"
    values = opened.space.params({"train.epochs": epochs, "train.min_steps": 0})
    changed = space.Space(opened.space.parameters, opened.space.conditions, values | {"seed": repeat})
    settings = opened.search.model_copy(update={"pruning": kind == "tpe", "finalists": 0})
    FOLDER.mkdir(parents=True, exist_ok=True)
    stored = storage.open_journal(FOLDER / f"{name}.log")
    study = storage.open_study(stored, name, 1, write=True)
    storage.recover(study)
    study.sampler, study.pruner = sampling.Sampler(kind, repeat), sampling.pruner(settings.prunes)
    objective = trials.Trials(settings, changed, data, FOLDER / name, "")

    def stop(study: optuna.Study, trial: FrozenTrial) -> None:
        print(f"repeat {repeat}, {kind}, {running.line(trial)}", flush=True)
        objective.tidy(study)

    while (done := storage.finished(study)) is not None and len(done) < count:
        if sum(trial.user_attrs.get(trials.SECONDS, 0.0) for trial in done) >= seconds:
            break
        study.optimize(objective, n_trials=1, catch=(trials.Failed,), callbacks=[stop])
    return storage.finished(study)


def _row(repeat: int, random: list[FrozenTrial], tpe: list[FrozenTrial], budget: float) -> list[str]:
    best, reached, spent = 0.0, None, 0.0
    target = max(trial.values[0] for trial in random if trial.state == TrialState.COMPLETE)
    for trial in tpe:
        spent += trial.user_attrs.get(trials.SECONDS, 0.0)
        if trial.state == TrialState.COMPLETE and spent <= budget * 1.02:  # the last trial may end a little later
            best = max(best, trial.values[0])
            if reached is None and best >= target:
                reached = spent
    fraction = "not reached" if reached is None else f"{reached / budget:.2f}"
    shown = [f"{100 * value:.2f}" for value in (target, best, best - target)]
    return [str(repeat), *shown, f"{budget:.0f}", fraction]


if __name__ == "__main__":
    main()
