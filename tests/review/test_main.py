"""The command line of the review: exit codes and what it prints."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.review.__main__ import main
from tests import reviewed
from tests.code import libraries
from tests.repository import ROOT
from tests.reviewed import STRONG


def code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_markdown_and_json(project: Path, capsys: pytest.CaptureFixture):
    assert code("weak") == 0
    assert capsys.readouterr().out.startswith("## ")
    assert code("weak", "strong", "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "better"


def test_a_regression_fails_if_asked(project: Path):
    assert code("strong", "weak", "--fail-on", "regression") == 1
    assert code("strong", "weak") == 0
    assert code("weak", "strong", "--fail-on", "regression", "--fail-on", "stale") == 0


def test_a_tolerated_loss_does_not_fail(project: Path):
    """The recipe lost 15 points, with an interval of about 6 to 24."""
    fail = "strong", "weak", "--fail-on", "regression", "--margin"
    assert [code(*fail, margin) for margin in ("0", "3", "10", "100")] == [1, 1, 0, 0]


@pytest.mark.parametrize("margin", ["-1", "100.1", "nan", "much"])
def test_a_margin_out_of_bounds_is_code_2(project: Path, capsys: pytest.CaptureFixture, margin: str):
    assert code("strong", "weak", f"--margin={margin}") == 2
    assert repr(margin) in capsys.readouterr().err


def test_other_models_of_the_same_recipe_do_not_fail(project: Path):
    """Ten broken predictions of 200, which McNemar's test calls significant."""
    reviewed.write(project, [*STRONG[:-11], *[False] * 11], lr=0.3)
    assert code("strong", "--fail-on", "regression") == 0


def test_classes_and_slices_that_became_worse_fail_if_asked(project: Path):
    days = {"day": ["a" if index < 200 else "b" for index in range(400)]}
    reviewed.write(project, [index % 50 > 0 for index in range(400)], columns=days)
    reviewed.commit(project, "before")
    reviewed.write(project, [index % 2 == 0 or index % 20 > 5 for index in range(400)], lr=0.2, columns=days)
    assert code("before", "--fail-on", "class-regression") == 1
    reviewed.write(project, [index % 50 > 0 for index in range(400)], lr=0.3, columns=days)
    assert code("before", "--fail-on", "class-regression", "--fail-on", "slice-regression") == 0
    reviewed.write(project, [index < 200 or index % 3 > 0 for index in range(400)], lr=0.3, columns=days)
    assert code("before", "--fail-on", "slice-regression") == 1


def test_a_stale_lock_fails_if_asked(project: Path):
    (project / "darkroom/train/net.py").write_text("# other")
    assert code("strong") == 0
    assert code("strong", "--fail-on", "regression") == 0
    assert code("strong", "--fail-on", "stale") == 1


@pytest.mark.parametrize("text", ["0.001", None])
def test_edited_numbers_always_fail(project: Path, text: str | None):
    if text:
        reviewed.edit(project / "metrics/evaluate.json", "0.01", text)
    else:
        reviewed.relock(project, "evaluate", outs=[{"path": "metrics/gone.json", "md5": "1"}])
        reviewed.edit(project / "dvc.yaml", "metrics/predictions.csv:", "metrics/gone.json:")
    assert code("strong") == 1


def test_a_stale_or_edited_old_side_does_not_fail(project: Path):
    reviewed.edit(project / "metrics/evaluate.json", "0.01", "0.001")
    reviewed.commit(project, "edited")
    assert code("edited", "strong", "--fail-on", "stale") == 0
    assert code("strong", "edited", "--fail-on", "stale") == 1


def test_stale_seeds_do_not_fail(project: Path):
    (project / "metrics/seeds.json").write_text('{"mean": 0.9, "std": 0.01, "n": 2}')
    assert code("strong", "--fail-on", "stale") == 0


def test_what_cannot_be_compared_is_code_2(project: Path, capsys: pytest.CaptureFixture):
    (project / "metrics/evaluate.json").unlink()
    assert code("strong") == 2
    assert capsys.readouterr().out.startswith("## ")
    assert code("strong", "--json") == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "not comparable"
    assert code("nobody") == 2
    assert code("--fail-on", "nothing") == 2


@pytest.mark.parametrize("path", ["darkroom", "params.yaml/review.html"])
def test_an_unwritable_page_is_code_2_and_one_line(project: Path, capsys: pytest.CaptureFixture, path: str):
    assert code("strong", "weak", "--fail-on", "regression", "--html", path) == 2
    error = capsys.readouterr().err
    assert path in error and error.count("\n") == 1


def test_a_reader_that_stops_early_is_not_an_error(project: Path):
    """As in `python -m darkroom.review weak | head -1`, where the pipe is closed before everything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        command = [sys.executable, "-m", "darkroom.review", "strong", "weak", "--fail-on", "regression"]
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_workflow_installs_what_the_review_imports():
    """And nothing heavy: the review of a pull request needs neither PyTorch nor DVC."""
    imported = libraries("darkroom/review/__main__.py") - {"markupsafe"}  # which comes with Jinja2
    owners = importlib.metadata.packages_distributions()
    workflow = (ROOT / ".github/workflows/review.yml").read_text()
    installed = re.search(r"grep -hE \"\^\((.*)\)==\"", workflow)[1].split("|")
    assert {owners[name][0].lower() for name in imported} == {name.lower() for name in installed}
    pinned = "".join(path.read_text() for path in (ROOT / "requirements").glob("*.txt"))
    assert [name for name in installed if f"\n{name}==" not in pinned] == []


def test_the_workflow_runs_the_test_command_of_the_readme():
    command = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.endswith("&& pytest"))
    assert command in (ROOT / ".github/workflows/tests.yml").read_text()
