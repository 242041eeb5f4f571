"""Searches that share a database, and two in one checkout."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from darkroom.search import __main__ as command
from darkroom.search import experiments, storage, trials
from tests import repository
from tests.search import toy

pytestmark = pytest.mark.usefixtures("project")


def test_two_searches_in_one_checkout_are_refused():
    file = toy.write()
    with storage.claim(shared=False):
        with pytest.raises(SystemExit, match=r"another search runs in this checkout"):
            command.main([file])
        with pytest.raises(SystemExit, match=r"another search runs"):
            command.main([file, "--storage", "sqlite:///shared.db"])
    with storage.claim(shared=True), storage.claim(shared=True):
        pass


def test_an_unusable_database_is_reported_without_its_password():
    for url in ("sqlite:////nowhere/at/all.db", "nosuch://me:secret@host/db", "nonsense"):
        with pytest.raises(SystemExit, match=r"--storage .* cannot be opened") as ended:
            command.main([toy.write(), "--storage", url])
        assert "secret" not in str(ended.value)


def test_the_second_of_two_equal_finalists_is_not_trained_before_the_first_has_read_its_values():
    study = optuna.create_study()
    for _ in range(2):
        study.enqueue_trial({"trial": 3, "seed": 1})
    first, second = study.ask(), study.ask()
    for trial in (second, first):
        trial.suggest_int("trial", 0, 9), trial.suggest_int("seed", 0, 9)
        assert trials._is_repeated(trial) == (trial is second)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on, in a process with threads
def test_two_processes_share_a_database():
    toy.copy_project()
    file = toy.write(trials=16)
    repository.commit_all(Path.cwd())
    url = f"sqlite:///{Path.cwd()}/shared.db"
    context = multiprocessing.get_context("fork")  # with the fake trainings
    processes = [context.Process(target=command.main, args=([file, "--storage", url],)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    study = optuna.load_study(study_name="toy", storage=url)
    assert all(trial.state.is_finished() for trial in study.trials)
    assert 16 <= len(study.trials) <= 17  # each process may begin the last one
    finals = optuna.load_study(study_name="toy/finalists", storage=url)
    complete = [tuple(trial.params.values()) for trial in finals.trials if trial.state == TrialState.COMPLETE]
    assert len(complete) == len(set(complete)) == 6
    saved = repository.git(Path.cwd(), "for-each-ref", "--format=%(refname)", "refs/exps").split()
    kept = storage.in_state(study, TrialState.COMPLETE, TrialState.PRUNED)
    assert sorted(ref.rpartition("/")[2] for ref in saved) == sorted(experiments.experiment("toy", one) for one in kept)
    for trial in kept:
        ref = next(ref for ref in saved if ref.endswith(f"/{experiments.experiment('toy', trial)}"))
        params = yaml.safe_load(repository.git(Path.cwd(), "show", f"{ref}:params.yaml"))
        assert params["train"]["lr"] == trial.user_attrs["sample"]["train.lr"]
    command.main([file, "--storage", url, "--report"])
    assert Path("metrics/search/toy/index.html").is_file()


def test_nothing_is_trained_instead_of_finalists_that_another_process_took(monkeypatch: pytest.MonkeyPatch):
    taken: list[optuna.Trial] = []
    optimize = optuna.Study.optimize

    def slower(study: optuna.Study, objective: Callable, **options: object) -> None:
        if study.study_name == "toy/finalists" and not taken:  # between the look at the queue and the next trial
            for _ in study.get_trials(states=[TrialState.WAITING]):
                taken.append(study.ask())
                taken[-1].suggest_int("trial", 0, 2**31), taken[-1].suggest_int("seed", 0, 2**32 - 1)
                study.tell(taken[-1], 0.5)
        optimize(study, objective, **options)

    monkeypatch.setattr(optuna.Study, "optimize", slower)
    command.main([toy.write(trials=2)])
    finals = toy.stored("toy/finalists")
    assert len(finals.trials) == len(taken) + 1 > 3
    assert [trial.params for trial in finals.trials if trial.state != TrialState.COMPLETE] == [{}]
    assert storage.finished(finals) == storage.in_state(finals, TrialState.COMPLETE)


def test_a_dead_process_of_a_shared_search_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "GRACE", 1)
    file, url = toy.write(trials=3, finalists=0), f"sqlite:///{Path.cwd()}/shared.db"
    command.main([file, "--storage", url, "--trials", "1"])
    study = optuna.load_study(study_name="toy", storage=url)
    trial = study.ask()  # its process dies here
    trial.suggest_float("train.lr", 0.0001, 1.0, log=True)
    storage.open_storage("toy", url, True).record_heartbeat(trial._trial_id)
    command.main([file, "--storage", url])
    done = storage.finished(study)
    assert len(done) == 3 and trial.number in [one.user_attrs.get("retry_of") for one in done]
