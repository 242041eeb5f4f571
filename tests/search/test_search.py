"""The command: searches with known best points, resumed, reported and applied."""

import json
from pathlib import Path

import pytest
import yaml
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from darkroom.search import __main__ as command
from darkroom.search import storage
from tests.search import toy

pytestmark = pytest.mark.usefixtures("project")


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_known_best_point_is_found(sampler: str):
    file = toy.write(trials=30, sampler=sampler)
    command.main([file])
    found = toy.report(file)
    best = next(row for row in found["rows"] if row["trial"] == found["winner"])
    assert best["sample"]["train.optimizer"] == "adamw"
    assert 0.3 < best["sample"]["train.lr"] / toy.BEST_LR < 3
    states = [trial.state for trial in toy.stored().trials]
    assert len(states) == 30 == found["trials"]["finished"]
    assert found["trials"]["pruned"] == states.count(TrialState.PRUNED) > 3
    assert found["training_seconds_saved"] > 0


@pytest.mark.parametrize(("lr", "first"), [(toy.BEST_LR, True), (2.0, False)])
def test_the_present_values_are_the_first_trial_if_the_space_has_them(lr: float, first: bool):
    toy.change(train={"lr": lr, "optimizer": "adamw"})
    command.main([toy.write(trials=3, finalists=0)])
    command.main([toy.write(trials=5, finalists=0)])  # goes on, and does not try them again
    samples = [trial.user_attrs["sample"] for trial in toy.stored().trials]
    present = {"train.lr": toy.BEST_LR, "train.optimizer": "adamw"}
    assert len(samples) == 5 and [sample == present for sample in samples] == [first, *[False] * 4]


def test_a_grid_tries_every_active_combination_once():
    conditional = {"choices": [8, 16], "when": {"train.optimizer": "sgd"}}
    parameters = {
        "model.name": ["cnn", "sprint"],
        "train.optimizer": ["adamw", "sgd"],
        "model.cnn.channels": conditional,
        "train.lr": {"low": 0.01, "high": 0.03, "step": 0.01},
    }
    command.main([toy.write(parameters=parameters, sampler="grid", trials=100, finalists=0, pruning=False)])
    samples = [tuple(sorted(trial.user_attrs["sample"].items())) for trial in toy.stored().trials]
    assert len(samples) == len(set(samples)) == (1 + 2 + 1 + 1) * 3
    assert all(("model.cnn.channels" in dict(sample)) == (dict(sample)["train.optimizer"] == "sgd"
               and dict(sample)["model.name"] == "cnn") for sample in samples)  # fmt: skip


def test_a_diverging_trial_counts_as_failed_and_the_search_goes_on(capsys: pytest.CaptureFixture):
    parameters = {"train.lr": [0.01, 0.9, 0.02]}
    file = toy.write(parameters=parameters, sampler="grid", trials=3)
    command.main([file])
    states = [trial.state for trial in toy.stored().trials]
    assert len(states) == 3 and states.count(TrialState.FAIL) == 1
    assert "failed: the loss is not finite: lower train.lr" in capsys.readouterr().out
    assert toy.report(file)["trials"] == {"finished": 3, "complete": 2, "pruned": 0, "failed": 1, "planned": 3}


def test_a_search_of_which_every_trial_fails_ends(capsys: pytest.CaptureFixture):
    file = toy.write(parameters={"train.lr": {"low": 0.6, "high": 0.9}}, trials=30)
    with pytest.raises(SystemExit, match=r"the first 5 trials all failed.*not finite"):
        command.main([file])
    assert len(toy.stored().trials) == 5


def test_the_gap_to_new_seeds_is_reported_with_an_interval():
    file = toy.write(trials=8, pruning=False)
    command.main([file])
    found = toy.report(file)
    assert len(found["finalists"]) == 2
    for row in found["finalists"]:
        assert set(row["scores"]) == {"1", "2", "3"} and row["low"] < row["mean"] < row["high"]
        assert row["gap"] == pytest.approx(1e-5 * (42 - 2), abs=2e-6)  # the fake accuracy grows with the seed
    assert found["winner"] == found["finalists"][0]["trial"]


def test_a_finished_search_goes_on_with_a_larger_budget():
    file = toy.write(trials=4)
    command.main([file])
    command.main([file])
    before = [trial.params for trial in toy.stored().trials]
    command.main([file, "--trials", "7"])
    after = [trial.params for trial in toy.stored().trials]
    assert len(before) == 4 and len(after) == 7 and after[:4] == before
    finals = [tuple(trial.params.values()) for trial in toy.stored("toy/finalists").trials]
    assert len(set(finals)) == len(finals) >= 3


def test_what_is_queued_for_former_finalists_is_not_trained(monkeypatch: pytest.MonkeyPatch):
    file, calls, epochs = toy.write(trials=4, pruning=False), [], toy.FakeTrainer.epochs

    def interrupted(self):
        calls.append(self.seed)
        if len(calls) == 6:  # the second training of a finalist
            raise KeyboardInterrupt
        return epochs(self)

    monkeypatch.setattr(toy.FakeTrainer, "epochs", interrupted)
    with pytest.raises(SystemExit):
        command.main([file])
    assert len(storage.in_state(toy.stored("toy/finalists"), TrialState.WAITING)) == 5
    found = toy.report(file)
    assert found["winner"] is None and not found["finalists_are_trained"]
    toy.write(trials=4, pruning=False, finalists=1, seeds=[1, 7])
    command.main([file])
    assert calls[6:] == [7] and toy.report(file)["winner"] is not None


def test_a_search_that_its_hours_or_its_grid_ended_does_not_go_on(capsys: pytest.CaptureFixture):
    file = toy.write(trials=50, finalists=0)
    command.main([file, "--hours", "0.0000001"])
    command.main([file, "--report"])
    assert capsys.readouterr().out.count("hours are spent; 50 trials were planned") == 2
    command.main([file, "--trials", "1"])
    assert toy.report(file)["trials"]["planned"] == 1
    grid = toy.write("grid", parameters={"train.lr": [0.01, 0.02]}, sampler="grid", trials=50, finalists=0)
    command.main([grid])
    said = capsys.readouterr().out
    assert "The same command goes on" not in said and "planned" not in said


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
    assert [trial.state for trial in toy.stored().trials][2:] == [TrialState.FAIL, TrialState.WAITING]
    command.main([file])
    done = storage.finished(toy.stored())
    assert [trial.params for trial in done] == [trial.params for trial in toy.stored("whole").trials]


@pytest.mark.parametrize("state", ["running", "unqueued"])
def test_a_trial_that_was_killed_is_tried_again(state: str):
    file = toy.write(trials=4, finalists=0)
    command.main([file, "--trials", "2"])
    study = toy.stored()
    trial = study.ask()
    trial.suggest_float("train.lr", 0.0001, 1.0, log=True)
    if state == "unqueued":
        study.tell(trial, state=TrialState.FAIL)
    command.main([file])
    found = toy.stored().trials
    assert [trial.state.is_finished() for trial in found] == [True] * 5
    assert found[3].user_attrs["retry_of"] == 2 and found[3].params["train.lr"] == found[2].params["train.lr"]
    assert len(storage.finished(toy.stored())) == 4


def test_a_torn_line_at_the_end_of_the_journal_is_cut():
    file = toy.write(trials=3, finalists=0)
    command.main([file, "--trials", "2"])
    with Path(".darkroom/search/toy/journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "wor')
    command.main([file])
    assert len(toy.stored().trials) == 3


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
    assert len(toy.stored().trials) == 2


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
    assert len(toy.stored().trials) == 1


def test_the_winner_is_applied_and_the_search_can_go_on(capsys: pytest.CaptureFixture):
    file = toy.write(trials=6)
    with pytest.raises(SystemExit, match=r"no trial is stored yet"):
        command.main([file, "--apply"])
    command.main([file])
    winner = toy.report(file)["winner"]
    before = yaml.safe_load(Path("params.yaml").read_text())
    command.main([file, "--apply", "--dry-run"])
    assert yaml.safe_load(Path("params.yaml").read_text()) == before
    command.main([file, "--apply"])
    after = yaml.safe_load(Path("params.yaml").read_text())
    sample = toy.stored().trials[winner].user_attrs["sample"]
    before["train"] |= {key.partition(".")[2]: value for key, value in sample.items()}
    assert after == before
    assert "+  lr: " in capsys.readouterr().out
    command.main([file, "--trials", "7"])
    with pytest.raises(SystemExit, match=r"--apply 99: must be one of"):
        command.main([file, "--apply", "99"])


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
    assert len(toy.stored().trials) == 1


def test_two_objectives_give_a_front_and_a_knee():
    parameters = {"model.cnn.channels": [1, 2, 4, 8], "train.lr": [0.01, 0.001, 0.1]}
    file = toy.write(parameters=parameters, sampler="grid", trials=12, cost="parameters", pruning=False)
    command.main([file])
    found = toy.report(file)
    rows = {row["trial"]: row for row in found["rows"]}
    assert {rows[number]["sample"]["train.lr"] for number in found["front"]} == {0.01}
    assert {rows[number]["parameters"] for number in found["front"]} == {1}  # the fake accuracy ignores the size
    assert found["winner"] is None or found["winner"] in rows


def test_the_latency_of_texts_is_refused():
    file, path = toy.write(trials=2, latency=True), Path("data/arrays/manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "text"}))
    with pytest.raises(SystemExit) as stopped:
        command.main([file])
    assert "needs images" in stopped.value.code and "leave out latency" in stopped.value.code
