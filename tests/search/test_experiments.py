"""Trials as experiments of DVC, and a real search that is killed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from optuna.trial import TrialState

from darkroom.search import __main__ as command
from darkroom.search import experiments, storage, trials
from tests import repository
from tests.search import toy

pytestmark = pytest.mark.usefixtures("project")


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
    found = [trial for trial in toy.stored().trials if trial.state != TrialState.FAIL]
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


def test_a_search_goes_on_if_its_trials_cannot_be_saved(capsys: pytest.CaptureFixture):
    toy.copy_project()
    file = toy.write("my search", trials=3, finalists=0)  # no name of an experiment may have a blank
    repository.commit_all(Path.cwd())
    command.main([file])
    assert len(storage.finished(toy.stored("my search"))) == 3
    assert capsys.readouterr().err.count("trials are not saved as experiments") == 1


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
    assert len(storage.finished(toy.stored())) == 4
    applied = subprocess.run([*arguments, "--apply"], env=environment, capture_output=True, text=True)
    assert applied.returncode == 0 and "run cache holds" in applied.stdout, applied.stdout + applied.stderr
    stages, printed = repository.dvc(Path.cwd(), "repro", "--single-item", "train")
    assert stages == [] and "cached" in printed
    kept = next(Path(".darkroom/search/toy/kept").glob("[0-9]*")) / "models/trained"
    for path in kept.iterdir():
        assert path.read_bytes() == Path("models/trained", path.name).read_bytes()
    weights = Path("models/trained/model.safetensors").read_bytes()
    repository.dvc(Path.cwd(), "repro", "--single-item", "--force", "--no-run-cache", "train")
    assert Path("models/trained/model.safetensors").read_bytes() == weights  # as the stage trains them
