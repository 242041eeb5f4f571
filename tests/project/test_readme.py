"""Holds README.md and docs/ to the project: paths, links, commands, size."""

import re
from pathlib import Path

import pytest

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


def test_no_placeholder_is_left():
    files = [*PAGES, *(ROOT / "recipes").glob("*.yaml")]
    assert [file for file in files if re.search(r"@[A-Z]+@|not measured yet", file.read_text(encoding="utf-8"))] == []
