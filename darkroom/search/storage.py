"""Where Optuna keeps the trials: a journal in .darkroom/search/<name>, or a database that several processes share.

The journal belongs to one process at a time, which a lock ensures. So when it is opened, trials that were running have
been killed: they are marked as failed and tried again. In a database a process proves by a heartbeat that it lives.
"""

import fcntl
import json
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from darkroom.core.errors import DarkroomError

FOLDER, JOURNAL = Path(".darkroom/search"), "journal.log"
FINALISTS = "/finalists"  # after a search's name: the study of its finalists
HEARTBEAT, GRACE = 10, 60  # seconds between signs of life in a database, and after the last one until a trial is failed
_PAUSE = 3.0  # seconds before a second try to open a database
SPACE, BUDGET = "space", "budget"  # user attributes of a study
REASON, RETRY = "reason", "retry_of"  # of a trial: why it failed, what it repeats


@contextmanager
def claim(shared: bool) -> Iterator[None]:
    """Hold the checkout for one search, or for the searches that share a database.

    Raises DarkroomError if another search holds it.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DarkroomError(
                "another search runs in this checkout: wait for it, or give both the same --storage URL to share one."
            ) from None
        yield


def open_storage(name: str, url: str | None, write: bool) -> BaseStorage:
    """The storage of a search; `write` allows to create it. Raises DarkroomError if it is missing or damaged."""
    if url is not None:
        return _database(url)
    path = FOLDER / name / JOURNAL
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
    elif not path.is_file():
        raise DarkroomError(f"{path} is missing: no trial is stored yet; run the search first.")
    return open_journal(path)


def open_journal(path: Path) -> JournalStorage:
    """The journal in a file, which is created if it is missing. Raises DarkroomError if it is damaged."""
    try:
        return JournalStorage(JournalFileBackend(str(path), _Lock(path.with_suffix(".lock"))))
    except (ValueError, KeyError, TypeError, AssertionError, AttributeError) as error:  # Optuna's, of broken lines
        raise DarkroomError(
            f"{path} is damaged{_damage(path)}: restore a copy of it, or start again with --fresh ({error})."
        ) from None


def open_study(storage: BaseStorage, name: str, objectives: int, write: bool) -> optuna.Study:
    """A study of that storage; `write` allows to create it. Raises DarkroomError if it is missing."""
    directions = ["maximize", "minimize"][:objectives]
    if write:
        return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        raise DarkroomError(f"the storage has no search {name}: run the search first.") from None


def require_same_space(study: optuna.Study, identity: Mapping[str, Any], source: str) -> None:
    """Store the identity of the space in a new study; raise DarkroomError if a stored one differs."""
    now = json.loads(json.dumps(identity))
    before = study.user_attrs.get(SPACE)
    if before is None or not study.get_trials(deepcopy=False):
        study.set_user_attr(SPACE, now)
    elif before != now:
        key = next(key for key in [*before, *now] if before.get(key) != now.get(key))
        place = source if key.startswith(("parameters.", "cost", "latency")) else "params.yaml"
        change = f"{key} was {_shown(before, key)}, is {_shown(now, key)}"
        raise DarkroomError(
            f"{place} changed since the {len(finished(study))} stored trials ({change}): restore it, or start again "
            "with --fresh."
        )


def forget(name: str, url: str | None) -> None:
    """Remove all stored trials of a search, also from a damaged journal."""
    if url is not None:
        for study in (name, name + FINALISTS):
            with suppress(KeyError):
                optuna.delete_study(study_name=study, storage=_database(url))
    shutil.rmtree(FOLDER / name, ignore_errors=True)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials with a result: complete, pruned, or failed for a reason of their own."""
    return [
        trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished() and not _interrupted(trial)
    ]


def in_state(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """The trials in one of these states."""
    return study.get_trials(deepcopy=False, states=states)


def recover(study: optuna.Study) -> int:
    """Mark trials that were killed as failed, and queue all interrupted ones again; return how many.

    Only for a journal: in a database, running trials may belong to a living process.
    """
    for trial in in_state(study, TrialState.RUNNING):
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs.get(RETRY) for trial in trials}
    lost = [trial for trial in trials if _interrupted(trial) and trial.params and trial.number not in repeated]
    for trial in lost:
        retry(study, trial)
    return len(lost)


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial that was interrupted, with the same values."""
    if trial.params:
        study.enqueue_trial(trial.params, user_attrs={RETRY: trial.number})


def drop(study: optuna.Study, trial: FrozenTrial) -> None:
    """Mark a queued trial as failed, so that it never runs."""
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)  # Optuna has no public way


def fail_stale(study: optuna.Study) -> None:
    """Mark trials of dead processes as failed and queue them again; only a database knows them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def hidden(url: str) -> str:
    """The URL without its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def _interrupted(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def _database(url: str) -> RDBStorage:
    from sqlalchemy.exc import DatabaseError, SQLAlchemyError

    try:
        try:
            return _connected(url)
        except DatabaseError:  # another process was creating the same tables
            time.sleep(_PAUSE)
            return _connected(url)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise DarkroomError(
            f"--storage {hidden(url)} cannot be opened ({hidden(reason)}): give a URL such as sqlite:///search.db or "
            "postgresql+psycopg://user@host/database, and install its driver."
        ) from None


def _connected(url: str) -> RDBStorage:
    arguments = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of the heartbeat
        return RDBStorage(
            url,
            engine_kwargs=arguments,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=retry,
        )


class _Lock:
    """Optuna's lock of the journal as a lock of the system, which ends with the process, even a killed one."""

    def __init__(self, path: Path):
        self._path = path

    def acquire(self) -> bool:
        self._file = self._path.open("a")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        self._file.close()


def _cut_torn_line(path: Path) -> None:
    """Remove the end of a journal after its last whole line: its writer was killed, or the disk was full."""
    if path.is_file() and not (contents := path.read_bytes()).endswith(b"\n"):
        with path.open("r+b") as journal:
            journal.truncate(contents.rfind(b"\n") + 1)


def _damage(path: Path) -> str:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            json.loads(line)["op_code"]
        except (ValueError, KeyError, TypeError):
            return f" in line {number}"
    return ""


def _shown(values: Mapping[str, Any], key: str) -> str:
    value: Any = values.get(key, "not searched" if key.startswith("parameters.") else "missing")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items() if part not in (None, False, {}))
    return str(value)
