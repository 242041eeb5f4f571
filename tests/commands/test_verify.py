"""A pipeline of three quick stages, reproduced in clean clones; it reads a folder that neither git nor DVC tracks.

The project is in a folder of its repository. The tests restore it after each test, except for the attestation.
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

stage, rounding = sys.argv[1], float(os.environ.get("ROUNDING", 0))  # as on another machine
print("stage", stage, "runs")
if stage == "fetch":
    write("data/raw/values", Path("data/datasets/mine/values").read_text())
if stage == "train":
    if "WAITING" in os.environ:
        Path(os.environ["WAITING"]).write_text("now")
        signal.pause()
    if "FAILURE" in os.environ:
        sys.exit("train: The training diverged.")
    write("models/trained/weights", str(sum(map(float, Path("data/raw/values").read_text().split())) + rounding))
if stage == "evaluate":
    weights = float(Path("models/trained/weights").read_text())
    numbers = {"accuracy": weights, "loss": weights / 10, "samples": 3, "published": not rounding}
    write("metrics/evaluate.json", json.dumps(numbers))
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
    """The project after `dvc repro` and a commit."""
    top = tmp_path_factory.mktemp("repository")
    (top / "né project").mkdir()
    folder = copy_project(top / "né project")
    change(folder, data={"dataset": "mine"})
    (folder / "steps").mkdir()
    (folder / "steps/run.py").write_text(STAGES)
    stages = {
        name: {"cmd": f"python steps/run.py {name}", **stage, "deps": ["steps", *stage["deps"]]}
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
    """Work in the repository; yield the folder for temporary files, which must be empty after each test."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []
    git(repository, "checkout", "--quiet", "--", ".")
    Path("steps/new.py").unlink(missing_ok=True)


def run(capfd: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        verify.main(arguments)
    printed = "".join(capfd.readouterr())
    return (1, f"{printed}{ended.value.code}") if isinstance(ended.value.code, str) else (ended.value.code, printed)


def attested() -> dict:
    return json.loads(Path(attestation.FILE).read_text())


def test_an_identical_reproduction_is_attested(repository: Path, capfd: pytest.CaptureFixture):
    def tracked() -> dict[Path, bytes]:
        files = [path for path in repository.rglob("*") if path.is_file() and path.name != "attestation.json"]
        return {path: path.read_bytes() for path in files}

    Path("params.yaml").write_text("broken: [")  # not committed
    Path("steps/new.py").write_text("broken (")  # not in git
    before = tracked()
    code, printed = run(capfd)
    assert code == 0, printed
    assert "params.yaml, steps/new.py" in printed  # how the working tree differs
    assert all(f"stage {stage} runs" in printed for stage in PIPELINE)
    assert "evaluate  metrics/predictions.csv  same\n" in printed
    assert tracked() == before
    found = attested()
    assert (found["same"], found["data"]) == (True, {MINE: 1})
    assert found["commit"] == git(repository, "rev-parse", "HEAD").strip()
    assert found["params"]["data"] == {"dataset": "mine"}
    assert {"Python", "torch", "dvc", "ruff", "tritonclient"} <= set(found["versions"])
    paths = ["data/raw", "models/trained", "metrics/evaluate.json", "metrics/predictions.csv"]
    assert [output["path"] for output in found["outputs"]] == paths
    assert run(capfd, "--check")[0] == 0


@pytest.mark.parametrize("answer", ["predicted", "recommended"])
def test_differing_predictions_are_counted(answer: str):
    committed, found = f"id,{answer}\na,x\nb,y\n", f"id,{answer}\na,x\nb,z\nc,x\n"
    assert verify._differing(committed.encode(), found.encode()) == 2


def test_other_rounding_and_fewer_threads_are_measured(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    monkeypatch.setenv("ROUNDING", "0.125")
    cores = os.sched_getaffinity(0)
    code, printed = run(capfd, "--threads", "1")
    assert os.sched_getaffinity(0) == cores
    assert code == 1
    lines = {
        line.split()[1]: line.split(maxsplit=2)[2] for line in printed.splitlines() if line.startswith(tuple(PIPELINE))
    }
    assert (lines["data/raw"], lines["models/trained"]) == ("same", "different")
    assert all(fact in lines["metrics/evaluate.json"] for fact in ("0.75 → 0.875", "0.0875", "True → False"))
    assert lines["metrics/predictions.csv"].startswith("different: 1 prediction")
    found = attested()
    assert not found["same"] and found["machine"]["processor"].startswith("1 core of")
    _, weights, numbers, predictions = found["outputs"]
    assert (weights["same"], predictions["predictions"]) == (False, 1)
    assert numbers["numbers"]["accuracy"] == {"committed": 0.75, "found": 0.875}
    assert numbers["numbers"]["published"] == {"committed": True, "found": False}
    assert run(capfd, "--check")[0] == 1


def test_a_failing_stage_keeps_the_earlier_attestation(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
    Path(attestation.FILE).write_text("earlier")
    monkeypatch.setenv("FAILURE", "1")
    code, printed = run(capfd)
    assert code == 1 and "The training diverged" in printed
    assert Path(attestation.FILE).read_text() == "earlier"


def test_an_interrupt_leaves_nothing_behind(
    repository: Path, temporary: Path, tmp_path_factory: pytest.TempPathFactory
):
    waiting = tmp_path_factory.mktemp("waiting") / "pipe"
    os.mkfifo(waiting)
    environment = {**os.environ, "WAITING": str(waiting), "TMPDIR": str(temporary)}
    Path(attestation.FILE).write_text("earlier")
    command = [sys.executable, "-m", "darkroom.verify"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert waiting.read_text() == "now"  # the training runs
    process.terminate()
    printed = process.communicate()[0]
    assert process.returncode == 130 and "verify: interrupted" in printed
    assert Path(attestation.FILE).read_text() == "earlier"


def edited(path: str, old: str, new: str):
    def edit() -> None:
        text = Path(path).read_text()
        assert old in text
        Path(path).write_text(text.replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("edit", "fact"),
    [
        (edited("metrics/evaluate.json", "0.75", "0.95"), "metrics/evaluate.json"),
        (edited("steps/run.py", "import json", "import  json"), "steps"),
        (lambda: Path("dvc.lock").unlink(), "dvc.lock is missing"),
    ],
)
def test_a_lock_that_is_not_current_is_refused(repository: Path, capfd: pytest.CaptureFixture, edit, fact: str):
    edit()
    git(repository, "commit", "--quiet", "-a", "-m", "Edited")
    code, printed = run(capfd)
    assert run(capfd, "--check")[0] == 1
    git(repository, "reset", "--quiet", "--hard", "HEAD~1")
    assert code == 1 and fact in printed


@pytest.mark.parametrize(
    "edit",
    [
        edited(f"{MINE}/values", "0.5", "0.75"),
        lambda: Path(MINE, "values").rename(Path(MINE).parent / "values"),
    ],
)
def test_changed_data_are_refused_before_anything_runs(capfd: pytest.CaptureFixture, edit):
    edit()
    code, printed = run(capfd)
    Path(MINE).parent.joinpath("values").unlink(missing_ok=True)
    Path(MINE, "values").write_text("0.25 0.5")
    assert code == 1 and f"verify: {MINE}" in printed and " runs\n" not in printed


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["nobody"], "'nobody'"),
        (["--threads", "9999"], "9999"),
        (["--check", "--output", "nothing.json"], "HEAD"),
        (["--output", "metrics"], "--output metrics"),
        (["--output", "params.yaml/attestation.json"], "--output params.yaml/attestation.json"),
    ],
)
def test_impossible_requests_are_refused(capfd: pytest.CaptureFixture, arguments: list[str], fact: str):
    code, printed = run(capfd, *arguments)
    assert code == 1 and fact in printed


def test_outside_of_a_repository_it_is_refused(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    folder = tmp_path_factory.mktemp("nowhere")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    code, printed = run(capfd)
    assert code == 1 and "git repository" in printed


def test_a_wrong_command_is_code_2(capfd: pytest.CaptureFixture):
    assert run(capfd, "--threads", "many")[0] == 2
