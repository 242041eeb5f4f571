"""Tests of `python -m darkroom.label`: what it shows, and how it ends."""

from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from darkroom.core.arrays import Split
from darkroom.label import __main__ as command
from darkroom.label import examples
from tests import histories
from tests.label import projects
from tests.label.projects import answer

HEADER = "id,label,by,at\n"
AT = "2026-01-31T12:00:00.000Z"


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A project in the working folder; `ids(*arguments)` are those that the command would show."""
    projects.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    served = []
    monkeypatch.setattr(command, "_serve", lambda session, guesses, about, port: served.append((session, about)))

    def ids(*arguments: str) -> list[str]:
        command.main(["--by", "anna", *arguments])
        return [one.id for one in served[-1][0].chosen.examples]

    return SimpleNamespace(ids=ids, served=served)


def test_unlabelled_examples_are_shown_without_a_queue(shown: SimpleNamespace):
    assert shown.ids() == projects.ids(5)


def test_the_queue_comes_first_until_it_is_answered(shown: SimpleNamespace, capsys: pytest.CaptureFixture):
    examples.QUEUE.parent.mkdir(parents=True)
    third, first = projects.ids(5)[2], projects.ids(5)[0]
    rows = f"1,{third},0.9,cat,margin\n2,cat/train0.png,0.8,cat,margin\n3,{first},0.7,dog,margin\n"
    examples.QUEUE.write_text(f"rank,id,score,predicted,reason\n{rows}")
    assert shown.ids() == [third, first]
    assert "1 example" in capsys.readouterr().err  # which is not unlabelled
    assert shown.served[-1][0].chosen.examples[0].predicted == "cat"
    projects.labels(Path()).write_text(f"{HEADER}{third},cat,ben,{AT}\n{first},dog,ben,{AT}\n")
    assert shown.ids() == projects.ids(5)


def test_suspects_of_all_tables_are_shown_most_suspect_first(shown: SimpleNamespace):
    for path, rows in zip(
        examples.SUSPECTS,
        ("cat/train0.png,cat,dog,0.5\n", "cat/val0.png,cat,dog,0.9\n", "dog/test1.png,dog,cat,0.7\ngone,dog,cat,0.1\n"),
        strict=True,
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"id,label,suggested,margin\n{rows}")
    assert shown.ids("--suspects") == ["cat/val0.png", "dog/test1.png", "cat/train0.png"]
    assert shown.ids("--suspects", str(examples.SUSPECTS[1])) == ["cat/val0.png"]
    assert {one.answers for one in shown.served[-1][0].chosen.examples} == {1}
    examples.FINDINGS.parent.mkdir(parents=True)
    ids = ("cat/val0.png", "cat/train0.png", "dog/test1.png")
    details = ("labelled dog, by hand: cat (ben)", "labelled dog, corrected to cat", "unlabelled, by hand: dog (ben)")
    rows = (f'{one},,relabelled,"{detail}",relabelled\n' for one, detail in zip(ids, details, strict=True))
    examples.FINDINGS.write_text("id,split,rule,detail,action\n" + "".join(rows))
    examples.SUSPECTS[2].write_text("id,label,suggested,margin\ndog/test1.png,cat,dog,0.7\n")  # not the present label
    shown.ids("--suspects")
    assert [one.answers for one in shown.served[-1][0].chosen.examples] == [2, 1, 1]
    examples.FINDINGS.unlink()
    session = shown.served[-1][0]
    assert session.answer(session.turn, "dog")["last"]["present"] == "cat"


def test_second_opinions_begin_where_others_disagree(shown: SimpleNamespace):
    names = projects.ids(5)
    rows = [(names[0], "cat", "ben"), (names[1], "cat", "anna"), (names[2], "cat", "ben"), (names[2], "dog", "cleo")]
    projects.labels(Path()).write_text(HEADER + "".join(f"{','.join(row)},{AT}\n" for row in rows))
    assert shown.ids("--second-opinions") == [names[2], names[0]]


def test_the_agreement_is_printed(shown: SimpleNamespace, capsys: pytest.CaptureFixture):
    command.main(["--agreement"])
    assert "--second-opinions" in capsys.readouterr().out
    names = projects.ids(2)
    rows = [(names[0], "cat", "ben"), (names[0], "cat", "anna"), (names[1], "cat", "ben"), (names[1], "dog", "anna")]
    projects.labels(Path()).write_text(HEADER + "".join(f"{','.join(row)},{AT}\n" for row in rows))
    command.main(["--agreement"])
    assert "anna and ben: 50.0% of 2 examples, Cohen's kappa 0.000" in capsys.readouterr().out
    assert not shown.served


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--suspects"], r"darkroom\.crossval"),
        (["--suspects", "none.csv"], r"none\.csv is missing"),
        (["--suspects", "params.yaml"], r"params\.yaml is invalid"),
        (["--second-opinions"], "others have labelled"),
    ],
)
def test_nothing_to_show_is_said_in_one_line(shown: SimpleNamespace, arguments: list[str], reason: str):
    with pytest.raises(SystemExit, match=reason):
        shown.ids(*arguments)


def test_no_unlabelled_examples(shown: SimpleNamespace):
    for file in Path("data/arrays").glob("unlabelled.*"):
        file.unlink()
    with pytest.raises(SystemExit, match="no unlabelled examples"):
        shown.ids()


def test_arrays_of_another_data_set_are_refused(shown: SimpleNamespace):
    path = Path("data/arrays/manifest.json")
    path.write_text(path.read_text().replace('"photos"', '"shoes"'))
    with pytest.raises(SystemExit, match="dvc repro preprocess"):
        shown.ids()


def test_an_invalid_file_of_answers_is_refused(shown: SimpleNamespace):
    projects.labels(Path()).write_text("id,label\n")
    with pytest.raises(SystemExit, match=r"labels\.csv is invalid: missing column by, at"):
        shown.ids()


@pytest.mark.parametrize(
    "arguments", [["--by", "=1+1"], ["--by", "a\nb"], ["--port", "70000"], ["--suspects", "a.csv", "--second-opinions"]]
)
def test_a_wrong_command_line_ends_with_2(shown: SimpleNamespace, arguments: list[str]):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2


def test_killed_at_any_moment_no_confirmed_answer_is_lost(tmp_path: Path):
    projects.make(tmp_path, unlabelled=40)
    confirmed: list[tuple[str, str]] = []
    for number in range(4):
        with projects.running(tmp_path) as (url, process), httpx.Client(base_url=url, timeout=60) as client:
            state = client.get("/v1/session").json()
            assert state["done"] == len(confirmed)
            for count in range(8):
                state = answer(client, state, projects.CLASSES[count % 3])
                confirmed.append((state["last"]["id"], state["last"]["label"]))
            process.kill()
            process.wait()
        if number % 2:  # killed within a write
            with projects.labels(tmp_path).open("a") as file:
                file.write("unlabelled/00039.png,ca")
    with projects.running(tmp_path) as (url, _):
        assert httpx.get(f"{url}/v1/session", timeout=60).json()["done"] == 32
    lines = projects.labels(tmp_path).read_text().splitlines()[1:]
    assert [tuple(line.split(",")[:2]) for line in lines] == confirmed


def test_a_second_process_is_refused(tmp_path: Path):
    projects.make(tmp_path)
    with projects.running(tmp_path) as (url, _):
        with pytest.raises(AssertionError, match=r"label: .*labels\.csv .* anna \(process"), projects.running(tmp_path):
            pass
        assert httpx.get(f"{url}/v1/session", timeout=60).status_code == 200


def test_a_packed_example_of_any_split_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    projects.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    packed = examples.Packed()
    assert (packed.label("cat/train0.png"), packed.label(projects.ids(1)[0]), packed.label("gone")) == ("cat", "", "")
    assert packed.pixels("dog/test1.png").shape == (*projects.SIZE, 3) and "gone" not in packed
    assert isinstance(packed.splits["unlabelled"], Split) and np.all(packed.splits["unlabelled"].labels == -1)


def test_histories_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    histories.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^label: the page shows images .* Films has histories: "):
        command.main(["--by", "anna"])
