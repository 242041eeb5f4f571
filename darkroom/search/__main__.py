"""Search hyperparameters, or a model size that suffices.

Optuna samples, and the validation set decides.
A search file, searches/<name>.yaml, names the parameters and their ranges. Trials train on data/arrays (`dvc repro
preprocess` writes it) and see only the training and validation split. Each is saved as a DVC experiment. The best are
trained again with new seeds. The workspace is not touched; interrupt the search at any time, and the same command goes
on. Then `--report` shows what was found, and `--apply` writes the winner into params.yaml.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from tqdm import tqdm

from darkroom.audit import freshness
from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.core.stage import SYSTEM_REMEDIES
from darkroom.search import experiments, report, results, running, sampling, storage, trials, winner
from darkroom.search.measure import of_kind
from darkroom.search.opened import Opened
from darkroom.search.words import sentences

ARRAYS = "data/arrays"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 1 if the search cannot run, 2 if the command is wrong, 128 + signal if stopped."""
    chosen = _parser().parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _run(Path(chosen.file), chosen)
    except DarkroomError as error:
        sys.exit(f"search: {error}")
    except _Terminated:
        _stopped(signal.SIGTERM)
    except KeyboardInterrupt:
        _stopped(signal.SIGINT)
    except OSError as error:
        remedy = SYSTEM_REMEDIES.get(error.errno, "The system reports an error")
        sys.exit(f"search: {remedy} ({error}). No finished trial is lost: the same command goes on.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m darkroom.search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", metavar="FILE", help="the search file, such as searches/default.yaml")
    parser.add_argument("--trials", type=_positive(int), metavar="N", help="end after N trials (default: the file's)")
    parser.add_argument(
        "--hours",
        type=_positive(float),
        metavar="H",
        help="start no trial after H hours of trials (default: the file's)",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="a database that several processes or machines share, such as sqlite:///search.db (default: a journal in "
        ".darkroom/search)",
    )
    parser.add_argument("--fresh", action="store_true", help="forget the stored trials and their experiments first")
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--report", action="store_true", help="write tables, figures and a page about the stored trials")
    task.add_argument(
        "--apply",
        type=int,
        nargs="?",
        const=-1,
        metavar="TRIAL",
        help="write the winner, or this trial, to params.yaml",
    )
    parser.add_argument("--output", metavar="FOLDER", help="of the report (default: metrics/search/<name>)")
    parser.add_argument("--dry-run", action="store_true", help="with --apply: show the difference, write nothing")
    return parser


def _run(file: Path, chosen: argparse.Namespace) -> None:
    opened = Opened(file, chosen.storage, chosen.trials, chosen.hours)
    manifest = arrays.read_manifest(ARRAYS)
    if chosen.report:
        _report(opened, manifest, Path(chosen.output or f"metrics/search/{opened.name}"))
    elif chosen.apply is not None:
        _apply(opened, manifest, chosen.apply, chosen.dry_run)
    else:
        arrays.require_labels(manifest)
        with storage.claim(shared=opened.url is not None):
            if chosen.fresh:
                _forget(opened)
            _search(opened, manifest)


def _search(opened: Opened, manifest: arrays.Manifest) -> None:
    if opened.search.measures_latency:
        arrays.require_images(manifest, f"the latency of {opened.name}", "leave out latency, and a cost that is one")
    if notice := freshness.notice():
        print(f"search: {notice}", file=sys.stderr, flush=True)
    study, finals = opened.studies(manifest, write=True)
    study.set_user_attr(storage.BUDGET, {"trials": opened.search.trials, "hours": opened.search.hours})  # for --report
    study.sampler = sampling.Sampler(opened.search.sampler, opened.space.base["seed"])
    study.pruner = sampling.pruner(opened.search.prunes)
    if not study.trials and opened.search.sampler != "grid" and (present := opened.space.present()):
        study.enqueue_trial(present, skip_if_exists=True)  # so that the search is never behind what is there
    if opened.url is None and (count := storage.recover(study) + storage.recover(finals)):
        print(f"search: {count} interrupted before they had finished are tried again")
    splits = (arrays.read_split(ARRAYS, name) for name in ("train", "val"))
    data = trials.Data(manifest, *splits, arrays.read_unlabelled(ARRAYS))
    opened.folder.mkdir(parents=True, exist_ok=True)
    objective = trials.Trials(opened.search, opened.space, data, opened.folder, winner.origin(manifest.sha256))
    save = _saving(opened)

    def after(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        objective.tidy(study)
        save(study)

    save(study)  # what finished right before the search was killed
    running.search(study, objective, opened.search, after)
    if opened.search.finalists:
        running.finalists(study, finals, objective, opened.search)
    found = _collect(opened, manifest, study, finals)
    print("\n".join(["", *sentences(found), "", *_next(opened, found["winner"])]))


def _saving(opened: Opened) -> Callable[[optuna.Study], None]:
    """What saves the trials of a study as experiments; at the first failure it says why, and does nothing later."""
    savers: list[experiments.Experiments] = []

    def save(study: optuna.Study) -> None:
        try:
            for saver in savers:
                saver.save(study)
        except DarkroomError as error:
            savers.clear()
            tqdm.write(f"search: {error}", file=sys.stderr)

    try:
        savers.append(experiments.Experiments(opened.name, opened.text, opened.folder))
    except DarkroomError as error:
        print(f"search: {error}", file=sys.stderr)
    return save


def _collect(opened: Opened, manifest: arrays.Manifest, study: optuna.Study, finals: optuna.Study) -> dict[str, Any]:
    search = opened.search.model_copy(update={**study.user_attrs.get(storage.BUDGET, {}), **opened.budget})
    shared = opened.name, opened.file, search, opened.space
    measure = of_kind(manifest.kind)
    return results.collect(*shared, study, finals, measure, len(arrays.read_split(ARRAYS, "val")))


def _report(opened: Opened, manifest: arrays.Manifest, output: Path) -> None:
    found = _collect(opened, manifest, *opened.studies(manifest, write=False))
    if not found["rows"]:
        raise DarkroomError("no trial has finished yet: run the search first.")
    said = sentences(found)
    report.write(output, found, said)
    print("\n".join([*said, "", f"The report is {output / report.PAGE}"]))


def _apply(opened: Opened, manifest: arrays.Manifest, number: int, dry_run: bool) -> None:
    study, finals = opened.studies(manifest, write=False)
    complete = {trial.number: trial for trial in storage.in_state(study, optuna.trial.TrialState.COMPLETE)}
    if number < 0:
        again = results.retrained(study, finals, opened.search.seeds, of_kind(manifest.kind))
        if (best := results.winner(again, study, finals, opened.search)) is None:
            raise DarkroomError(
                "there is no winner, and --report says why: run the search to its end, or name a trial: --apply 7."
            )
        number = best
    if number not in complete:
        raise DarkroomError(
            f"--apply {number}: must be one of the {len(complete)} complete trials; --report lists them."
        )
    text = winner.with_values(opened.text, complete[number].user_attrs[trials.SAMPLE])
    winner.write(text, dry_run)
    if not dry_run:
        print(f"\n{winner.cache(opened.folder / trials.KEPT / str(number), text, manifest.sha256)}")


def _forget(opened: Opened) -> None:
    storage.forget(opened.name, opened.url)
    try:
        experiments.remove(opened.name)
    except DarkroomError as error:
        print(f"search: {error}", file=sys.stderr)


def _next(opened: Opened, number: int | None) -> list[str]:
    command = f"python -m darkroom.search {opened.file}" + (" --storage URL" if opened.url else "")
    lines = [f"{command} --report   writes the report", "dvc exp show --only-changed   lists the trials"]
    return lines if number is None else [*lines, f"{command} --apply   writes the winner into params.yaml"]


def _positive(kind: type) -> Any:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} must be greater than 0")
        return value

    return parse


class _Terminated(KeyboardInterrupt):
    """SIGTERM arrived; treated by Optuna as Ctrl-C, so that the trial is marked."""


def _terminate(*_: object) -> None:
    raise _Terminated


def _stopped(number: int) -> None:
    print("\nsearch: stopped. No finished trial is lost: the same command goes on.", file=sys.stderr)
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
