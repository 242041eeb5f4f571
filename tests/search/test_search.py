"""The command: searches with known best points, resumed, shared, reported and applied."""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from darkroom.search import __main__ as command
from darkroom.search import experiments, storage, trials
from tests import repository
from tests.search import toy


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with toy data and fake trainings as the current folder."""
    monkeypatch.chdir(tmp_path)
    toy.prepare(monkeypatch)


def stored(name: str = "toy") -> optuna.Study:
    """A study as a separate program reads it."""
    journal = JournalStorage(JournalFileBackend(f".darkroom/search/{name.partition('/')[0]}/journal.log"))
    return optuna.load_study(study_name=name, storage=journal)


def report(file: str) -> dict:
    command.main([file, "--report"])
    return json.loads(Path("metrics/search/toy/results.json").read_text())


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_known_best_point_is_found(sampler: str):
    file = toy.write(trials=30, sampler=sampler)
    command.main([file])
    found = report(file)
    best = next(row for row in found["rows"] if row["trial"] == found["winner"])
    assert best["sample"]["train.optimizer"] == "adamw"
    assert 0.3 < best["sample"]["train.lr"] / toy.BEST_LR < 3
    states = [trial.state for trial in stored().trials]
    assert len(states) == 30 == found["trials"]["finished"]
    assert found["trials"]["pruned"] == states.count(TrialState.PRUNED) > 3
    assert found["training_seconds_saved"] > 0


def test_a_grid_tries_every_active_combination_once():
    conditional = {"choices": [8, 16], "when": {"train.optimizer": "sgd"}}
    parameters = {
        "model.name": ["cnn", "sprint"],
        "train.optimizer": ["adamw", "sgd"],
        "model.cnn.channels": conditional,
        "train.lr": {"low": 0.01, "high": 0.03, "step": 0.01},
    }
    command.main([toy.write(parameters=parameters, sampler="grid", trials=100, finalists=0, pruning=False)])
    samples = [tuple(sorted(trial.user_attrs["sample"].items())) for trial in stored().trials]
    assert len(samples) == len(set(samples)) == (1 + 2 + 1 + 1) * 3
    assert all(("model.cnn.channels" in dict(sample)) == (dict(sample)["train.optimizer"] == "sgd"
               and dict(sample)["model.name"] == "cnn") for sample in samples)  # fmt: skip


def test_a_diverging_trial_counts_as_failed_and_the_search_goes_on(capsys: pytest.CaptureFixture):
    parameters = {"train.lr": [0.01, 0.9, 0.02]}
    file = toy.write(parameters=parameters, sampler="grid", trials=3)
    command.main([file])
    states = [trial.state for trial in stored().trials]
    assert len(states) == 3 and states.count(TrialState.FAIL) == 1
    assert "failed: the loss is not finite: lower train.lr" in capsys.readouterr().out
    assert report(file)["trials"] == {"finished": 3, "complete": 2, "pruned": 0, "failed": 1, "planned": 3}


def test_a_search_of_which_every_trial_fails_ends(capsys: pytest.CaptureFixture):
    file = toy.write(parameters={"train.lr": {"low": 0.6, "high": 0.9}}, trials=30)
    with pytest.raises(SystemExit, match=r"the first 5 trials all failed.*not finite"):
        command.main([file])
    assert len(stored().trials) == 5


def test_the_gap_to_new_seeds_is_reported_with_an_interval():
    file = toy.write(trials=8, pruning=False)
    command.main([file])
    found = report(file)
    assert len(found["finalists"]) == 2
    for row in found["finalists"]:
        assert set(row["scores"]) == {"1", "2", "3"} and row["low"] < row["mean"] < row["high"]
        assert row["gap"] == pytest.approx(1e-5 * (42 - 2), abs=2e-6)  # the fake accuracy grows with the seed
    assert found["winner"] == found["finalists"][0]["trial"]


def test_a_finished_search_goes_on_with_a_larger_budget():
    file = toy.write(trials=4)
    command.main([file])
    command.main([file])
    before = [trial.params for trial in stored().trials]
    command.main([file, "--trials", "7"])
    after = [trial.params for trial in stored().trials]
    assert len(before) == 4 and len(after) == 7 and after[:4] == before
    finals = [tuple(trial.params.values()) for trial in stored("toy/finalists").trials]
    assert len(set(finals)) == len(finals) >= 3


def test_an_interrupted_trial_is_tried_again_and_samples_do_not_depend_on_it(monkeypatch: pytest.MonkeyPatch):
    file = toy.write(trials=6, finalists=0)
    whole = toy.write("whole", trials=6, finalists=0)
    command.main([whole])
    epochs, calls = toy.FakeTrainer.epochs, []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return epochs(self)

    monkeypatch.setattr(toy.FakeTrainer, "epochs", interrupted)
    with pytest.raises(SystemExit) as ended:
        command.main([file])
    assert ended.value.code == 130
    assert [trial.state for trial in stored().trials][2:] == [TrialState.FAIL, TrialState.WAITING]
    command.main([file])
    done = storage.finished(stored())
    assert (
        len(done) == 6
        and [trial.params for trial in done[:3]] == [trial.params for trial in stored("whole").trials][:3]
    )


@pytest.mark.parametrize("state", ["running", "unqueued"])
def test_a_trial_that_was_killed_is_tried_again(state: str):
    file = toy.write(trials=4, finalists=0)
    command.main([file, "--trials", "2"])
    study = stored()
    trial = study.ask()
    trial.suggest_float("train.lr", 0.0001, 1.0, log=True)
    if state == "unqueued":
        study.tell(trial, state=TrialState.FAIL)
    command.main([file])
    found = stored().trials
    assert [trial.state.is_finished() for trial in found] == [True] * 5
    assert found[3].user_attrs["retry_of"] == 2 and found[3].params["train.lr"] == found[2].params["train.lr"]
    assert len(storage.finished(stored())) == 4


def test_a_torn_line_at_the_end_of_the_journal_is_cut():
    file = toy.write(trials=3, finalists=0)
    command.main([file, "--trials", "2"])
    with Path(".darkroom/search/toy/journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "wor')
    command.main([file])
    assert len(stored().trials) == 3


def test_a_damaged_journal_is_reported_and_can_be_dropped():
    file = toy.write(trials=2, finalists=0)
    command.main([file])
    path = Path(".darkroom/search/toy/journal.log")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], "garbage\n", *lines[3:]]))
    for options in ([], ["--report"]):
        with pytest.raises(SystemExit, match=r"journal\.log is damaged in line 4: .*--fresh"):
            command.main([file, *options])
    command.main([file, "--fresh"])
    assert len(stored().trials) == 2


def test_a_changed_space_is_refused_but_a_changed_budget_is_not():
    file = toy.write(trials=2, finalists=0)
    command.main([file])
    toy.write(trials=3, finalists=1, seeds=[7, 8], sampler="random")
    command.main([file])
    toy.write(parameters={**toy.SPACE, "train.lr": {"low": 0.001, "high": 1.0, "log": True}})
    with pytest.raises(SystemExit, match=r"changed since the 3 stored trials \(parameters\.train\.lr was .*0\.0001"):
        command.main([file])
    toy.write()
    toy.change(train={"epochs": 9.0})
    with pytest.raises(SystemExit, match=r"params\.yaml changed .*train\.epochs was 4\.0, is 9\.0"):
        command.main([file])
    command.main([file, "--fresh", "--trials", "1"])
    assert len(stored().trials) == 1


def test_the_winner_is_applied_and_the_search_can_go_on(capsys: pytest.CaptureFixture):
    file = toy.write(trials=6)
    with pytest.raises(SystemExit, match=r"no trial is stored yet"):
        command.main([file, "--apply"])
    command.main([file])
    winner = report(file)["winner"]
    before = yaml.safe_load(Path("params.yaml").read_text())
    command.main([file, "--apply", "--dry-run"])
    assert yaml.safe_load(Path("params.yaml").read_text()) == before
    command.main([file, "--apply"])
    after = yaml.safe_load(Path("params.yaml").read_text())
    sample = stored().trials[winner].user_attrs["sample"]
    before["train"] |= {key.partition(".")[2]: value for key, value in sample.items()}
    assert after == before
    assert "+  lr: " in capsys.readouterr().out
    command.main([file, "--trials", "7"])
    with pytest.raises(SystemExit, match=r"--apply 99: must be one of"):
        command.main([file, "--apply", "99"])


def test_two_searches_in_one_checkout_are_refused():
    file = toy.write()
    with storage.claim(shared=False):
        with pytest.raises(SystemExit, match=r"another search runs in this checkout"):
            command.main([file])
        with pytest.raises(SystemExit, match=r"another search runs"):
            command.main([file, "--storage", "sqlite:///shared.db"])
    with storage.claim(shared=True), storage.claim(shared=True):
        pass


def test_a_full_disk_ends_the_search_in_one_line(monkeypatch: pytest.MonkeyPatch):
    file = toy.write()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JournalFileBackend, "append_logs", full)
    with pytest.raises(SystemExit, match=r"^search: The disk is full.*No finished trial is lost"):
        command.main([file])


@pytest.mark.parametrize(
    "arguments", [["--trials", "0"], ["--hours", "-1"], ["--hours", "nan"], ["--report", "--apply"]]
)
def test_a_wrong_command_ends_with_code_2(arguments: list[str]):
    with pytest.raises(SystemExit, match=r"^2$"):
        command.main([toy.write(), *arguments])


def test_no_trial_starts_after_the_hours_are_spent():
    file = toy.write(trials=50, finalists=0)
    command.main([file, "--hours", "0.0000001"])
    assert len(stored().trials) == 1


def test_an_unusable_database_is_reported_without_its_password():
    for url in ("sqlite:////nowhere/at/all.db", "nosuch://me:secret@host/db", "nonsense"):
        with pytest.raises(SystemExit, match=r"--storage .* cannot be opened") as ended:
            command.main([toy.write(), "--storage", url])
        assert "secret" not in str(ended.value)


def test_two_processes_share_a_database():
    file = toy.write(trials=16)
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
    finals = stored("toy/finalists")
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


def test_two_objectives_give_a_front_and_a_knee():
    parameters = {"model.cnn.channels": [1, 2, 4, 8], "train.lr": [0.01, 0.001, 0.1]}
    file = toy.write(parameters=parameters, sampler="grid", trials=12, cost="parameters", pruning=False)
    command.main([file])
    found = report(file)
    rows = {row["trial"]: row for row in found["rows"]}
    assert {rows[number]["sample"]["train.lr"] for number in found["front"]} == {0.01}
    assert {rows[number]["parameters"] for number in found["front"]} == {1}  # the fake accuracy ignores the size
    assert found["winner"] is None or found["winner"] in rows


def test_trials_are_experiments_and_the_workspace_is_untouched(monkeypatch: pytest.MonkeyPatch):
    toy.copy_project()
    toy.change(model={"name": "cnn"}, train={"epochs": 4.0, "batch_size": 24, "min_steps": 0})
    Path("metrics/evaluate").mkdir(parents=True)
    for name in ("metrics/train.json", "metrics/evaluate.json", "metrics/evaluate/per_class.csv", "metrics/seeds.json"):
        Path(name).write_text("{}\n")
    file = toy.write(trials=10)
    outputs = store_outputs()
    repository.commit_all(Path.cwd())
    head = repository.git(Path.cwd(), "rev-parse", "HEAD").strip()
    index = Path(".git/index").read_bytes()
    command.main([file])
    assert repository.git(Path.cwd(), "status", "--short") == "" and Path(".git/index").read_bytes() == index
    refs = repository.git(Path.cwd(), "for-each-ref", "--format=%(refname)", "refs/exps").split()
    found = [trial for trial in stored().trials if trial.state != TrialState.FAIL]
    names = [experiments.experiment("toy", trial) for trial in found]
    assert sorted(refs) == sorted(f"refs/exps/{head[:2]}/{head[2:]}/{name}" for name in names)
    for trial, name in zip(found, names, strict=True):
        ref = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
        params = yaml.safe_load(repository.git(Path.cwd(), "show", f"{ref}:params.yaml"))
        assert params["train"]["lr"] == trial.user_attrs["sample"]["train.lr"]
        metrics = json.loads(repository.git(Path.cwd(), "show", f"{ref}:metrics/train.json"))
        assert metrics["pruned"] == (trial.state == TrialState.PRUNED) and metrics["trial"] == trial.number
        files = repository.git(Path.cwd(), "ls-tree", "-r", "--name-only", ref).split()
        assert not {"metrics/evaluate.json", "metrics/evaluate/per_class.csv", "metrics/seeds.json"} & set(files)
        assert "metrics/curves/curves.csv" in files
    shown = repository.run(Path.cwd(), sys.executable, "-m", "dvc", "exp", "show", "--json")
    assert all(name in shown.stdout for name in names)
    repository.git(Path.cwd(), "update-ref", "-d", refs[0])
    command.main([file])  # one that was not saved, since the search was killed, is saved
    assert repository.git(Path.cwd(), "for-each-ref", "--format=%(refname)", "refs/exps").split() == refs
    repository.dvc(Path.cwd(), "exp", "apply", names[0])
    assert all(Path(path).read_text() == path for path in outputs)
    assert yaml.safe_load(Path("params.yaml").read_text())["train"]["lr"] == found[0].user_attrs["sample"]["train.lr"]
    experiments.remove("toy")
    assert repository.git(Path.cwd(), "for-each-ref", "refs/exps/*/*/*") == ""


def store_outputs() -> list[str]:
    """Write a dvc.lock with all outputs of dvc.yaml that DVC caches, and put files for them into its cache."""
    stages, paths = yaml.safe_load(Path("dvc.yaml").read_text())["stages"], []
    locked = {}
    for name, stage in stages.items():
        outs = [out for out in stage.get("outs", ()) if isinstance(out, str)]
        digests = [hashlib.md5(out.encode()).hexdigest() for out in outs]
        for out, md5 in zip(outs, digests, strict=True):
            stored = Path(".dvc/cache/files/md5", md5[:2], md5[2:])
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_text(out)
        entries = [{"path": out, "hash": "md5", "md5": md5} for out, md5 in zip(outs, digests, strict=True)]
        locked[name] = {"cmd": stage["cmd"], "outs": entries}
        paths += outs
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": locked}))
    return paths


def test_only_experiments_of_the_search_itself_are_removed():
    assert experiments._is_of("size", "size-3") and experiments._is_of("size", "size-12-pruned")
    assert not any(experiments._is_of("size", name) for name in ("size-large-3", "my-size-3", "size-", "sizes-3"))


def test_a_real_search_survives_kill_9_and_its_winner_is_not_trained_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trials, "build_trainer", None)  # the processes below are real
    toy.copy_project()
    toy.change(model={"name": "cnn"}, train={"epochs": 2.0, "batch_size": 24, "min_steps": 0, "device": "cpu"})
    Path("models/pretrained").mkdir(parents=True)
    file = toy.write(trials=4, finalists=1, seeds=[1, 2], parameters={"train.lr": [0.01, 0.02, 0.03, 0.04]})
    repository.commit_all(Path.cwd())
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", "darkroom.search", file]
    journal = Path(".darkroom/search/toy/journal.log")
    killed = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL)
    while killed.poll() is None and not (journal.is_file() and journal.read_text().count('"state"') > 1):
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = subprocess.run([*arguments, "--trials", "4"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(storage.finished(stored())) == 4
    applied = subprocess.run([*arguments, "--apply"], env=environment, capture_output=True, text=True)
    assert applied.returncode == 0 and "run cache holds" in applied.stdout, applied.stdout + applied.stderr
    stages, printed = repository.dvc(Path.cwd(), "repro", "--single-item", "train")
    assert stages == [] and "cached" in printed
    kept = next(Path(".darkroom/search/toy/kept").iterdir()) / "models/trained"
    for path in kept.iterdir():
        assert path.read_bytes() == Path("models/trained", path.name).read_bytes()
    weights = Path("models/trained/model.safetensors").read_bytes()
    repository.dvc(Path.cwd(), "repro", "--single-item", "--force", "--no-run-cache", "train")
    assert Path("models/trained/model.safetensors").read_bytes() == weights  # as the stage trains them


def test_the_latency_of_texts_is_refused():
    file, path = toy.write(trials=2, latency=True), Path("data/arrays/manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "text"}))
    with pytest.raises(SystemExit) as stopped:
        command.main([file])
    assert "needs images" in stopped.value.code and "leave out latency" in stopped.value.code
