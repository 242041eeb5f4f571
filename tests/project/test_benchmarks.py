import importlib
from pathlib import Path

import pytest
import yaml

from benchmarks import ablation, runs
from darkroom import schema

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py") if "def main" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_is_given(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 0
    assert f"usage: python -m benchmarks.{name}" in capsys.readouterr().out


@pytest.mark.parametrize("lever", ablation.levers(0.1))
def test_every_lever_is_a_valid_change_of_the_parameters(lever: str):
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key, value in ablation.levers(0.1)[lever].items():
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        assert last in section
        section[last] = value
    schema.check(values)


def test_a_recipe_is_read_by_dotted_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    Path("recipes/quick.yaml").write_text("seed: 3\ntrain:\n  lr: 1e-2\n  augment: {flip: none}\n")
    assert runs.recipe("quick") == {"seed": 3, "train.lr": 0.01, "train.augment.flip": "none"}
