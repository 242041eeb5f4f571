"""What the project's files import, read from their source."""

import ast
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = ("darkroom", "stages", "benchmarks", "tests")


@cache
def imported_names(path: str) -> frozenset[str]:
    """The dotted names that a file may import, at its top or inside a function; modules in `TYPE_CHECKING` included."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this project"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def files_of(name: str) -> set[str]:
    """The project's files that are read to import the module `name`: its own and its packages'."""
    parts = name.split(".")
    packages = (Path(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1))
    return {path.as_posix() for path in (Path(*parts).with_suffix(".py"), *packages) if (ROOT / path).is_file()}


@cache
def read_by(script: str) -> frozenset[str]:
    """The project's files that running `script` reads, itself among them."""
    found, waiting = set(), files_of(script.removesuffix(".py").replace("/", "."))
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= {file for name in imported_names(path) for file in files_of(name)} - found
    return frozenset(found)


def libraries(script: str) -> set[str]:
    """The top-level names of the third-party packages that running `script` may import."""
    names = {name.partition(".")[0] for path in read_by(script) for name in imported_names(path)}
    return names - set(sys.stdlib_module_names) - set(PROJECT)
