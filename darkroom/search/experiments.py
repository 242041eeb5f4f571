"""Save finished trials as DVC experiments: commits under refs/exps, as `dvc exp run` leaves them.

They are written with git's own commands, which neither touch the working tree nor the index and take a fraction of a
second; `dvc exp run` would check out files and run stages. An experiment holds the working tree's tracked files, with
the trial's params.yaml and training metrics, and without the metrics of the stages after `train`, which did not run.
"""

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.search import storage, trials
from darkroom.search.winner import with_values

NAMESPACE, STAGE = "refs/exps", "train"
_SEEDS = ("metrics/seeds", "metrics/seeds.json")  # of the recipe that the workspace holds
_AUTHOR = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "darkroom.search"), ("EMAIL", "search@darkroom.invalid"))
}


class Experiments:
    """Writes the experiments of one search; `base` is the text of the params.yaml that its samples change.

    Searches that share a database may each have such an object: a lock in `folder` lets one of them write at a time.
    Raises DarkroomError if the project is not in a git repository with a commit.
    """

    def __init__(self, name: str, base: str, folder: Path):
        self.name, self.base, self.index = name, base, folder / "index"
        self.commit = _git("rev-parse", "--verify", "--quiet", "HEAD").strip()
        self.prefix = _git("rev-parse", "--show-prefix").strip()
        with self._locked_index():
            self._indexed("read-tree", self.commit)
            self._indexed("add", "--update", ".")  # changes of tracked files that are not committed
            self._remove(list(_outdated()))
            self.tree = self._indexed("write-tree").strip()

    def save(self, study: optuna.Study) -> None:
        """Write the experiments of all complete and pruned trials that have none yet."""
        with self._locked_index():
            known = self.known()
            for trial in storage.in_state(study, TrialState.COMPLETE, TrialState.PRUNED):
                if (name := experiment(self.name, trial)) not in known:
                    self._write(name, trial)

    def known(self) -> set[str]:
        """The names of all experiments, of any commit."""
        return {ref.rpartition("/")[2] for ref in _refs()}

    def _write(self, name: str, trial: FrozenTrial) -> None:
        self._indexed("read-tree", self.tree)
        seconds = trial.user_attrs[trials.SECONDS]
        contents = {
            str(params.PATH): with_values(self.base, trial.user_attrs[trials.SAMPLE]),
            "metrics/train.json": _json(metrics(trial)),
            "metrics/cost/train.json": _json({"seconds": seconds, "training_seconds": seconds}),
            "metrics/curves/curves.csv": pd.DataFrame(trial.user_attrs[trials.RECORDS]).to_csv(index=False),
        }
        lines = []
        for path, text in contents.items():
            blob = _git("hash-object", "-w", "--stdin", given=text).strip()
            lines.append(f"100644 {blob}\t{self.prefix}{path}\n")
        self._indexed("update-index", "--index-info", given="".join(lines))
        tree = self._indexed("write-tree").strip()
        finished = f"{trial.datetime_complete:%Y-%m-%dT%H:%M:%S}"
        dates = {"GIT_AUTHOR_DATE": finished, "GIT_COMMITTER_DATE": finished}
        message = f"Trial {trial.number} of the search {self.name}"
        commit = _git("commit-tree", tree, "-p", self.commit, "-m", message, **_AUTHOR, **dates).strip()
        _git("update-ref", f"{NAMESPACE}/{self.commit[:2]}/{self.commit[2:]}/{name}", commit)

    def _remove(self, paths: list[str]) -> None:
        found = self._indexed("ls-files", "-z", "--", *paths).split("\0")[:-1] if paths else []
        lines = "".join(f"0 {'0' * 40}\t{self.prefix}{path}\n" for path in found)
        self._indexed("update-index", "--index-info", given=lines)

    @contextmanager
    def _locked_index(self) -> Iterator[None]:
        """Hold the index file, which is removed before and after."""
        with self.index.with_name("index-of-search.lock").open("a") as lock:  # git locks by the name index.lock
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                for left in (self.index, self.index.with_name("index.lock")):  # of a process that was killed
                    left.unlink(missing_ok=True)
                yield
            finally:
                self.index.unlink(missing_ok=True)

    def _indexed(self, *command: str, given: str = "") -> str:
        return _git(*command, given=given, GIT_INDEX_FILE=str(self.index.absolute()))


def experiment(search: str, trial: FrozenTrial) -> str:
    """The name of a trial's experiment."""
    return f"{search}-{trial.number}{'-pruned' if trial.state == TrialState.PRUNED else ''}"


def metrics(trial: FrozenTrial) -> dict[str, Any]:
    """The contents of metrics/train.json of a trial; of a pruned one, those of its last epoch."""
    last = trial.user_attrs[trials.RECORDS][-1]
    names = ("val_accuracy", "val_loss", "train_accuracy", "train_loss")
    measured = {"epochs": last["epoch"], **{name: last[name] for name in names}}
    return {
        **trial.user_attrs.get(trials.SUMMARY, measured),
        **{
            key: value
            for key, value in trial.user_attrs.get(trials.EXPORTED, {}).items()
            if not isinstance(value, list)
        },
        "trial": trial.number,
        "pruned": trial.state == TrialState.PRUNED,
    }


def remove(search: str) -> int:
    """Remove the experiments of a search, and return how many there were."""
    refs = [ref for ref in _refs() if _is_of(search, ref.rpartition("/")[2])]
    for ref in refs:
        _git("update-ref", "-d", ref)
    return len(refs)


def _is_of(search: str, name: str) -> bool:
    start, _, rest = name.rpartition(f"{search}-")
    return not start and name.startswith(f"{search}-") and rest.removesuffix("-pruned").isdecimal()


def _refs() -> list[str]:
    return _git("for-each-ref", "--format=%(refname)", f"{NAMESPACE}/*/*/*").split()


def _outdated() -> Iterator[str]:
    """Files and folders that stages after `train` write, and what the seeds of the present recipe left."""
    stages: Mapping[str, Mapping] = dict(params.read(Path("dvc.yaml"))["stages"])
    waiting, done = [STAGE], set()
    while waiting:
        name = waiting.pop()
        done.add(name)
        written = set(_outs(stages[name]))
        yield from written
        waiting += [
            other for other, stage in stages.items() if other not in done and written & set(stage.get("deps", ()))
        ]
    yield from _SEEDS


def _outs(stage: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("outs", "metrics", "plots"):
        for entry in stage.get(kind, ()):
            yield from [entry] if isinstance(entry, str) else entry


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _git(*command: str, given: str = "", **environment: str) -> str:
    foreign = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")  # of a hook that started this
    inherited = {name: value for name, value in os.environ.items() if name not in foreign}
    try:
        done = subprocess.run(
            ["git", *command], input=given, capture_output=True, text=True, env=inherited | environment, check=False
        )
    except FileNotFoundError:
        raise DarkroomError("git is not installed, so trials are not saved as experiments.") from None
    if done.returncode:
        reason = (done.stderr.splitlines() or [f"git {command[0]} failed"])[-1]
        raise DarkroomError(f"trials are not saved as experiments ({reason}).")
    return done.stdout
