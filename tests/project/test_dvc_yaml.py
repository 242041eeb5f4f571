"""Holds dvc.yaml to the code: each stage declares the rooms, libraries and parameters that it reads, and no more."""

import ast
import importlib
import importlib.metadata
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from darkroom.schema import Params
from tests.code import ROOT, files_of, imported_names, libraries, read_by, room

DECLARED = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
STAGES = [name for name in DECLARED if name != "check"]  # check can reject a run but never changes a result

# What cannot change a result: files that switch off telemetry and put outputs back after a failure, DVC, which does
# the latter, and requests, whose downloads are verified by digest
HARMLESS = {"darkroom/__init__.py", "stages/__init__.py"}
HARMLESS_LIBRARIES = {"dvc", "requests"}

# Seconds that each stage takes by default (two cores of an AMD EPYC, Zen 4), and the budget for changes of one line in
# every file: what the stages take that depend on a file's room without importing the file
SECONDS = {
    "fetch": 2,
    "preprocess": 10,
    "pretrained": 1,
    "train": 112,
    "evaluate": 7,
    "robustness": 55,
    "explain": 8,
    "export": 24,
}
BUDGET = 78
READ = {"evaluate": {"scikit-learn"}}  # libraries of which a stage reads files without an import


def code(stage: str) -> set[str]:
    """The rooms and scripts that dvc.yaml declares for a stage."""
    return {dep for dep in DECLARED[stage]["deps"] if dep.startswith(("darkroom/", "stages/"))}


def needed(stage: str) -> set[str]:
    """The rooms and scripts that a stage imports."""
    return {room(path) if path.startswith("darkroom/") else path for path in used_files(stage)}


def used_files(stage: str) -> set[str]:
    return set(read_by(f"stages/{stage}.py")) - HARMLESS


def sections_loaded(stage: str) -> dict[str, type]:
    """The sections that a stage script asks `params.load` for, with their classes."""
    script = f"stages/{stage}.py"
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    modules = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "params.load"]
    return {
        keyword.arg: getattr(importlib.import_module(modules[keyword.value.id]), keyword.value.id)
        for call in calls
        for keyword in call.keywords
    }


def pins(part: str) -> set[str]:
    """The libraries that a part of the requirements pins, by name."""
    lines = (ROOT / part).read_text(encoding="utf-8").splitlines()
    return {_normal(re.split(r"[=\[]", line)[0]) for line in lines if line and not line.startswith("#")}


def imported_libraries(stage: str) -> set[str]:
    """The libraries that a stage may import, by the names that they are installed by."""
    owners = importlib.metadata.packages_distributions()
    return {_normal(owners[name][0]) for name in libraries(f"stages/{stage}.py") - HARMLESS_LIBRARIES}


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def test_imports_are_followed_through_packages_and_functions():
    read = read_by("stages/train.py")
    assert {"darkroom/__init__.py", "darkroom/models/registry.py", "darkroom/core/randomness.py"} <= read
    assert "pandas" not in imported_names("darkroom/core/outputs.py")  # for type checkers only
    assert files_of("darkroom.core.errors") == {
        "darkroom/__init__.py",
        "darkroom/core/__init__.py",
        "darkroom/core/errors.py",
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_rooms_that_it_imports(stage: str):
    assert code(stage) == needed(stage)
    assert DECLARED[stage]["cmd"] == f"python -m stages.{stage}"


def test_changing_a_file_reruns_hardly_more_than_the_stages_that_import_it():
    needless = {}
    for path in (path.relative_to(ROOT).as_posix() for path in (ROOT / "darkroom").rglob("*.py")):
        stages = [stage for stage in STAGES if room(path) in code(stage) and path not in used_files(stage)]
        if stages and not path.endswith("__init__.py"):
            needless[path] = sum(SECONDS[stage] for stage in stages)
    assert sum(needless.values()) <= BUDGET, needless


def test_rooms_import_one_way():
    graph: dict[str, set[str]] = {}
    for path in (path.relative_to(ROOT).as_posix() for folder in ("darkroom", "stages") for path in _files(folder)):
        used = {room(file) for name in imported_names(path) for file in files_of(name) - HARMLESS}
        graph.setdefault(room(path), set()).update(used - {room(path)})
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert sum(map(len, graph.values())) <= 173, graph  # each script and command counts as a room of its own


def _files(folder: str) -> list[Path]:
    return list((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_libraries_that_it_imports(stage: str):
    parts = [dep for dep in DECLARED[stage]["deps"] if dep.startswith("requirements/")]
    imported = imported_libraries(stage) | READ.get(stage, set())
    assert imported <= set().union(*map(pins, parts))
    for part in parts:  # the few libraries that nearly every stage imports share one part
        assert part == "requirements/base.txt" or pins(part) <= imported, part


def test_every_part_of_the_requirements_is_installed_by_the_one_file():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    included = {line.removeprefix("-r ") for line in lines if not line.startswith("#")}
    assert included == {path.relative_to(ROOT).as_posix() for path in (ROOT / "requirements").glob("*.txt")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_parameters_that_it_reads(stage: str):
    expected = set()
    for section, kind in sections_loaded(stage).items():
        if kind is Params.model_fields["model"].annotation:
            # Only the chosen family's section: editing another must not retrain
            expected |= {"model.name", "model.${model.name}"}  # model.pretrained: by what its stage wrote
        elif kind is Params.model_fields[section].annotation or section == "seed":
            expected.add(section)
        else:
            expected |= {f"{section}.{field}" for field in kind.model_fields}
    assert set(DECLARED[stage]["params"]) == expected


def test_only_stages_and_commands_read_parameters():
    readers = {path.relative_to(ROOT).as_posix() for path in _files("darkroom") if "params.load(" in path.read_text()}
    rooms = ("acquire", "crossval", "label", "learning_curve")
    commands = {"darkroom/seeds.py", *(f"darkroom/{name}/__main__.py" for name in rooms)}
    assert readers <= {*commands, "darkroom/audit/data.py"}


def test_every_section_is_read_and_every_script_is_a_stage():
    read = {key.partition(".")[0] for stage in STAGES for key in DECLARED[stage]["params"]}
    assert read == set(Params.model_fields)
    assert {path.stem for path in (ROOT / "stages").glob("[!_]*.py")} == set(DECLARED)


def test_the_whole_file_is_checked_before_the_first_output_is_touched():
    assert DECLARED["check"]["deps"] == ["params.yaml"]
    assert set(DECLARED["check"]["outs"]) <= set(DECLARED["fetch"]["deps"])


def test_files_that_git_tracks_are_metrics_or_plots():
    """A `cache: false` entry under `outs` would take its stage out of the run cache."""
    for stage in DECLARED.values():
        assert all(isinstance(out, str) for out in stage.get("outs", []))
        for kind in ("metrics", "plots"):
            for entry in stage.get(kind, []):
                assert list(entry.values()) == [{"cache": False}]


def test_stage_scripts_fit_one_screen():
    assert max(len(path.read_text(encoding="utf-8").splitlines()) for path in _files("stages")) <= 60
