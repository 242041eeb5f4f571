"""Holds README.md and docs/ to the project: paths, links, commands, options, parameters and their values, size."""

import re
from pathlib import Path

import pytest
import yaml

from darkroom import schema
from darkroom.core import params
from darkroom.core.errors import DarkroomError

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def tree() -> list[str]:
    """The paths in the README's tree."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    within, paths = [], []
    for line in next(block for block in blocks if block.startswith("dvc.yaml ")).splitlines():
        within[(len(line) - len(line.lstrip())) // 2 :] = [line.split()[0]]
        paths.append("".join(within))
    return paths


def test_the_tree_names_every_room_and_nothing_else():
    paths = tree()
    assert [path for path in paths if not (ROOT / path).exists()] == []
    rooms = {f"darkroom/{path.parent.name}/" for path in (ROOT / "darkroom").glob("*/__init__.py")}
    assert {path for path in paths if path.startswith("darkroom/") and path != "darkroom/"} == rooms


def test_it_can_be_read_in_five_minutes():
    assert len(TEXT.encode()) <= 9 * 1024


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    links = [link for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "module",
    sorted(set(re.findall(r"python -m ([\w.]+)", "".join(page.read_text(encoding="utf-8") for page in PAGES)))),
)
def test_modules_that_are_named_can_be_run(module: str):
    path = ROOT / module.replace(".", "/")
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists() or module == "venv"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_are_named_exist(page: Path):
    for module, rest in re.findall(r"python -m (darkroom[.\w]*)([^`|#\n]*)", page.read_text(encoding="utf-8")):
        path = ROOT / module.replace(".", "/")
        files = [path.with_suffix(".py")] if path.with_suffix(".py").exists() else [*path.glob("*.py")]
        code = "".join(file.read_text(encoding="utf-8") for file in files)
        options = {*re.findall(r"--([a-z][a-z0-9-]*)", rest)} - {"help"}
        assert {name for name in options if f'"--{name}"' not in code and f'"{name}"' not in code} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_parameters_that_are_named_exist_and_take_the_values_that_are_named(page: Path):
    values = params.read(ROOT / "params.yaml")
    known, text = params.flat(values), page.read_text(encoding="utf-8")
    name = rf"(?<![\w/.-])((?:{'|'.join(values)})\.\w+(?:\.\w+)*)"
    files = re.compile(r"\.(csv|int8|json|md|onnx|pt2|py|yaml)$")
    named = {key for key in re.findall(name, text) if not files.search(key)}
    assert {key for key in named if not any(f"{one}.".startswith(f"{key}.") for one in known)} == set()
    given = re.findall(rf"-S \"?{name}=([^\s\"`]+)|`{name}(?:: | = )([^`]+)`", text)
    for key, value in ((one[0] or one[2], one[1] or one[3]) for one in given):
        *sections, last = key.split(".")
        section = changed = params.read(ROOT / "params.yaml")
        for part in sections:
            section = section[part]
        section[last] = yaml.load(value, params.Loader)
        try:
            schema.check(changed, page.name)
        except DarkroomError as error:  # what does not go with another default is allowed
            assert f"{page.name}: {key}" not in str(error)


def test_no_placeholder_is_left():
    files = [*PAGES, *(ROOT / "recipes").glob("*.yaml")]
    assert [file for file in files if re.search(r"@[A-Z]+@|not measured yet", file.read_text(encoding="utf-8"))] == []
