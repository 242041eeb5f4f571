"""What the project's files import, read from their source."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = {"darkroom", "stages", "benchmarks", "tests"}


@cache
def imported_names(path: str) -> frozenset[str]:
    """The dotted names that a file imports when it runs, at its top or inside a function."""
    names = set()
    for node in _running(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute in this project"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def files_of(name: str) -> set[str]:
    """The project's files that are read to import the module `name`: its own and its packages'."""
    parts = name.split(".")
    packages = (Path(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1))
    return {path.as_posix() for path in (Path(*parts).with_suffix(".py"), *packages) if (ROOT / path).is_file()}


@cache
def read_by(script: str) -> frozenset[str]:
    """The project's files that running `script` reads, including itself."""
    found, waiting = set(), files_of(script.removesuffix(".py").replace("/", "."))
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= {file for name in imported_names(path) for file in files_of(name)} - found
    return frozenset(found)


def libraries(script: str) -> set[str]:
    """The top-level names of the third-party packages that running `script` may import."""
    names = {name.partition(".")[0] for path in read_by(script) for name in imported_names(path)}
    return names - set(sys.stdlib_module_names) - OURS


def room(path: str) -> str:
    """The room that a file belongs to: `darkroom/train/trainer.py` to `darkroom/train`, a single file to itself."""
    return path.rpartition("/")[0] if path.count("/") > 1 else path


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a tree except those that only a type checker reads."""
    yield node
    children = node.orelse if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) else None
    for child in ast.iter_child_nodes(node) if children is None else children:
        yield from _running(child)
