import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def tree() -> list[str]:
    """The paths in the README's tree."""
    block = next(
        block
        for block in re.findall(r"^```\w*\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
        if block.startswith("dvc.yaml ")
    )
    within, paths = [], []
    for line in block.splitlines():
        within[(len(line) - len(line.lstrip())) // 2 :] = [line.split()[0]]
        paths.append("".join(within))
    return paths


def test_what_the_tree_names_is_there():
    paths = tree()
    assert "darkroom/models/layers.py" in paths  # the third level is read as it is meant
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("folder", ["stages", "darkroom", "benchmarks"])
def test_the_tree_names_every_module(folder: str):
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py"}
    assert modules - set(tree()) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path):
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
