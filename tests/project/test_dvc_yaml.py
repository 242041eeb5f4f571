"""Holds dvc.yaml to the code: every stage declares the modules that it imports and the parameters that it reads, no more."""

import ast
from pathlib import Path

import pytest
import yaml

from darkroom.schema import Params

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def imported_modules(source: str) -> set[str]:
    """The dotted names that `source` may import from the project, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this project"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def files_of(name: str) -> set[str]:
    """The project's files that are read to import the module `name`: its own and its packages'."""
    parts = name.split(".")
    candidates = [
        Path(*parts).with_suffix(".py"),
        *(Path(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)),
    ]
    return {path.as_posix() for path in candidates if (ROOT / path).is_file()}


def read_by(script: str) -> set[str]:
    """The project's files that running `script` reads, itself among them."""
    found, waiting = set(), files_of(script.removesuffix(".py").replace("/", "."))
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= {file for name in imported_modules((ROOT / path).read_text()) for file in files_of(name)} - found
    return found


def sections_loaded(script: str) -> set[str]:
    """The sections of params.yaml that `script` asks `params.load` for."""
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / script).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "params.load"
    ]
    return {argument.value for call in calls for argument in call.args}


def test_imports_are_followed_through_packages_and_functions():
    read = read_by("stages/train.py")
    assert {
        "darkroom/__init__.py",
        "darkroom/models/__init__.py",
        "darkroom/models/layers.py",
        "darkroom/randomness.py",
    } <= read
    assert imported_modules("def f():\n    from a import b") == {"a", "a.b"}


@pytest.mark.parametrize("name", STAGES)
def test_deps_are_the_modules_imported(name: str):
    declared = {dep for dep in STAGES[name]["deps"] if dep.endswith(".py")}
    assert declared == read_by(f"stages/{name}.py")
    assert "requirements.txt" in STAGES[name]["deps"]
    assert STAGES[name]["cmd"] == f"python -m stages.{name}"


def test_deps_of_the_seeds_are_the_modules_imported():
    stage = yaml.safe_load((ROOT / "seeds/dvc.yaml").read_text())["stages"]["train"]["do"]
    assert {dep for dep in stage["deps"] if dep.endswith(".py")} == read_by("darkroom/seeds.py")


@pytest.mark.parametrize("name", STAGES)
def test_params_are_the_sections_read(name: str):
    assert set(STAGES[name]["params"]) == sections_loaded(f"stages/{name}.py")


def test_only_stages_read_parameters():
    readers = [path for path in (ROOT / "darkroom").rglob("*.py") if "params.load(" in path.read_text()]
    assert readers == []


def test_every_section_is_read_and_every_stage_declared():
    assert {section for name in STAGES for section in STAGES[name]["params"]} == set(Params.model_fields)
    assert {path.stem for path in (ROOT / "stages").glob("[!_]*.py")} == set(STAGES)


def test_what_git_tracks_is_no_plain_out():
    """A `cache: false` entry under `outs` would take its stage out of the run cache."""
    for stage in STAGES.values():
        assert all(isinstance(out, str) for out in stage.get("outs", []))
        assert all(
            settings == {"cache": False}
            for kind in ("metrics", "plots")
            for entry in stage.get(kind, [])
            for settings in entry.values()
        )
