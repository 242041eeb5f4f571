"""A pipeline of three quick stages, reproduced in clean clones; it reads a folder that neither git nor DVC knows.

The project lies in a folder of its repository. The tests leave it as they find it, but for the attestation.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from darkroom import verify
from darkroom.review import attestation
from tests.repository import change, commit_all, copy_project, dvc, git

MINE = "data/datasets/mine"
STAGES = """
import json, os, signal, sys
from pathlib import Path

def write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)

stage, rounding = sys.argv[1], float(os.environ.get("ROUNDING", 0))  # that of another machine
print(stage, "is at work")
if stage == "fetch":
    write("data/raw/values", Path("data/datasets/mine/values").read_text())
if stage == "train":
    if "WAITING" in os.environ:
        Path(os.environ["WAITING"]).write_text("now")
        signal.pause()
    if "MISTAKE" in os.environ:
        sys.exit("train: The training diverged.")
    write("models/trained/weights", str(sum(map(float, Path("data/raw/values").read_text().split())) + rounding))
if stage == "evaluate":
    weights = float(Path("models/trained/weights").read_text())
    write("metrics/evaluate.json", json.dumps({"accuracy": weights, "calibration": {"ece": weights / 10}, "samples": 3, "published": not rounding}))
    write("metrics/predictions.csv", "id,predicted\\n1,left\\n2," + ("right" if rounding else "left") + "\\n")
"""
PIPELINE = {
    "fetch": {"params": ["data"], "deps": [MINE], "outs": ["data/raw"]},
    "train": {"params": ["model", "train"], "deps": ["data/raw"], "outs": ["models/trained"]},
    "evaluate": {
        "deps": ["models/trained"],
        "metrics": [{"metrics/evaluate.json": {"cache": False}}],
        "plots": [{"metrics/predictions.csv": {"cache": False}}],
    },
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, run and committed."""
    top = tmp_path_factory.mktemp("repository")
    (top / "né project").mkdir()
    folder = copy_project(top / "né project")
    change(folder, data={"dataset": "mine"})
    (folder / "steps.py").write_text(STAGES)
    stages = {
        name: {"cmd": f"python steps.py {name}", **stage, "deps": ["steps.py", *stage["deps"]]}
        for name, stage in PIPELINE.items()
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (folder / MINE).mkdir(parents=True)
    (folder / ".gitignore").write_text(f"{(folder / '.gitignore').read_text()}/{MINE}\n")
    (folder / MINE / "values").write_text("0.25 0.5")
    commit_all(top)
    dvc(folder, "repro")
    commit_all(top)
    return folder


@pytest.fixture(autouse=True)
def temporary(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in the repository; returns the folder for temporary files, which each test must leave empty."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []
    git(repository, "checkout", "--quiet", "--", ".")
    Path("new.py").unlink(missing_ok=True)


def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["verify", *arguments])
    with pytest.raises(SystemExit) as ended:
        verify.main()
    printed = "".join(capfd.readouterr())
    return (1, f"{printed}{ended.value.code}") if isinstance(ended.value.code, str) else (ended.value.code, printed)


def attested() -> dict:
    return json.loads(Path(attestation.FILE).read_text())


def test_all_is_the_same(repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    Path("params.yaml").write_text("broken: [")  # which is not committed
    Path("new.py").write_text("broken (")  # which git does not know
    before = {
        path: path.read_bytes() for path in repository.rglob("*") if path.is_file() and path.name != "attestation.json"
    }
    code, printed = run(monkeypatch, capfd)
    assert code == 0, printed
    assert (
        "The working tree is not HEAD (new.py, params.yaml); what is verified is the commit, as git has it." in printed
    )
    assert all(f"{stage} is at work" in printed for stage in PIPELINE)
    assert "evaluate  metrics/predictions.csv  same\n" in printed
    assert "HEAD is reproduced to the bit, all 4 outputs, on " in printed
    assert {
        path: path.read_bytes() for path in repository.rglob("*") if path.is_file() and path.name != "attestation.json"
    } == before
    found = attested()
    assert (found["same"], found["data"]) == (True, {MINE: 1})
    assert found["commit"] == git(repository, "rev-parse", "HEAD").strip()
    assert found["params"]["data"] == {"dataset": "mine"}
    assert {"Python", "torch", "dvc"} <= set(found["versions"])
    assert [output["path"] for output in found["outputs"]] == [
        "data/raw",
        "models/trained",
        "metrics/evaluate.json",
        "metrics/predictions.csv",
    ]
    assert run(monkeypatch, capfd, "--check")[0] == 0


def test_another_machine_and_fewer_threads_differ_by_so_much(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    monkeypatch.setenv("ROUNDING", "0.125")
    cores = os.sched_getaffinity(0)
    code, printed = run(monkeypatch, capfd, "--threads", "1")
    assert os.sched_getaffinity(0) == cores
    assert code == 1
    assert "data/raw                 same" in printed
    assert "models/trained           different\n" in printed
    assert (
        "metrics/evaluate.json    different: accuracy 0.75 → 0.875, calibration.ece 0.075 → 0.0875, published True → False\n"
        in printed
    )
    assert "metrics/predictions.csv  different: other answers: 1\n" in printed
    assert "3 of 4 outputs differ, the first models/trained; accuracy 0.75 → 0.875, other answers: 1" in printed
    found = attested()
    assert not found["same"] and found["machine"]["processor"].startswith("1 core of")
    assert found["outputs"][2]["numbers"]["accuracy"] == {"committed": 0.75, "found": 0.875}
    assert found["outputs"][2]["numbers"]["published"] == {"committed": True, "found": False}
    code, printed = run(monkeypatch, capfd, "--check")
    assert code == 1 and printed.startswith("HEAD is not reproduced to the bit on 1 core of")


def test_a_failing_stage_leaves_the_older_attestation(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    Path(attestation.FILE).write_text("the older")
    monkeypatch.setenv("MISTAKE", "1")
    code, printed = run(monkeypatch, capfd)
    assert code == 1
    assert "The training diverged" in printed and "verify: A stage failed in the clone, as is said above" in printed
    assert Path(attestation.FILE).read_text() == "the older"


def test_who_stops_it_leaves_nothing_behind(
    repository: Path, temporary: Path, tmp_path_factory: pytest.TempPathFactory
):
    waiting = tmp_path_factory.mktemp("waiting") / "pipe"
    os.mkfifo(waiting)
    environment = {**os.environ, "WAITING": str(waiting), "TMPDIR": str(temporary)}
    Path(attestation.FILE).write_text("the older")
    process = subprocess.Popen(
        [sys.executable, "-m", "darkroom.verify"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert waiting.read_text() == "now"  # the training is at work
    process.terminate()
    printed = process.communicate()[0]
    assert process.returncode == 130 and "verify: Stopped; nothing was written." in printed
    assert Path(attestation.FILE).read_text() == "the older"


def edited(path: str, old: str, new: str):
    def edit() -> None:
        text = Path(path).read_text()
        assert old in text
        Path(path).write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            edited("metrics/evaluate.json", "0.75", "0.95"),
            "is not of its files (evaluate left another metrics/evaluate.json): run `dvc repro`",
        ),
        (
            edited("steps.py", "import json", "import  json"),
            "(evaluate read another steps.py, fetch read another steps.py, train read another steps.py)",
        ),
        (lambda: Path("dvc.lock").unlink(), "dvc.lock is missing in HEAD: run `dvc repro` and commit it."),
    ],
)
def test_a_lock_that_is_not_of_its_files_is_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, edit, sentence: str
):
    edit()
    git(repository, "commit", "--quiet", "-a", "-m", "Edited")
    code, printed = run(monkeypatch, capfd)
    assert run(monkeypatch, capfd, "--check")[0] == 1
    git(repository, "reset", "--quiet", "--hard", "HEAD~1")
    assert code == 1 and sentence in printed


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            edited(f"{MINE}/values", "0.5", "0.75"),
            f"{MINE} in the working tree is not what dvc.lock was made from: bring it back",
        ),
        (
            lambda: Path(MINE, "values").rename(Path(MINE).parent / "values"),
            f"{MINE} in the working tree is missing: bring it back",
        ),
    ],
)
def test_other_data_are_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, edit, sentence: str
):
    edit()
    code, printed = run(monkeypatch, capfd)
    Path(MINE).parent.joinpath("values").unlink(missing_ok=True)
    Path(MINE, "values").write_text("0.25 0.5")
    assert code == 1 and sentence in printed and "is at work" not in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobody"], "git knows no revision 'nobody'"),
        (["--threads", "9999"], "--threads 9999 is not possible: give 1 to "),
        (["--check", "--output", "nothing.json"], "HEAD is not attested. Run `python -m darkroom.verify`."),
    ],
)
def test_what_cannot_be_is_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, arguments: list[str], sentence: str
):
    code, printed = run(monkeypatch, capfd, *arguments)
    assert code == 1 and sentence in printed


def test_outside_of_a_repository_it_says_so(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    folder = tmp_path_factory.mktemp("nowhere")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    code, printed = run(monkeypatch, capfd)
    assert code == 1 and "is in no git repository" in printed


def test_a_wrong_command_line_is_code_2(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    assert run(monkeypatch, capfd, "--threads", "many")[0] == 2
