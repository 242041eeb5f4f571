import re
import subprocess
import sys

import pytest

from darkroom import __main__ as commands
from tests.repository import ROOT

NAMES = (
    "acquire",
    "audit",
    "convert",
    "crossval",
    "label",
    "learning_curve",
    "predict",
    "pretrained",
    "recipe",
    "review",
    "search",
    "seeds",
    "serve",
    "teacher",
    "verify",
)


def test_every_command_is_listed_with_its_summary(capsys: pytest.CaptureFixture):
    commands.main([])
    printed = capsys.readouterr().out
    assert tuple(commands.commands()) == tuple(f"darkroom.{name}" for name in NAMES)
    for name, summary in commands.commands().items():
        assert summary.endswith(".") and "\n" not in summary
        assert re.search(rf"python -m {re.escape(name)} +{re.escape(summary)}", printed)
    assert "dvc repro" in printed and max(map(len, printed.splitlines())) <= 120
    commands.main(["--help"])
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("reviw", "did you mean python -m darkroom.review?"),
        ("darkroom.seed", "did you mean python -m darkroom.seeds?"),
        ("--version", "python -m darkroom lists"),
    ],
)
def test_an_unknown_argument_is_rejected(argument: str, hint: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit, match=r"^2$"):
        commands.main([argument])
    printed = capsys.readouterr()
    assert printed.out == "" and repr(argument) in printed.err and hint in printed.err


def test_the_list_needs_no_library():
    done = subprocess.run(
        [sys.executable, "-S", "-m", "darkroom"], cwd=ROOT, capture_output=True, text=True
    )  # -S: none
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name: str):
    module = [sys.executable, "-m", f"darkroom.{name}"]
    done = subprocess.run([*module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m darkroom.{name} ")
    assert "--out " not in done.stdout
