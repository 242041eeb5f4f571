"""Write the parameters of a recipe into params.yaml.

    python -m darkroom.recipe sprint

A recipe, recipes/<name>.yaml, holds only the parameters that it sets. Its comment says what it costs and reaches.
Comments and formatting of params.yaml are kept, and the difference is shown. Without a name, the recipes are listed.
"""

import argparse
import difflib
import io
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from darkroom import schema
from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_text
from darkroom.core.spelling import did_you_mean

RECIPES = Path("recipes")
COLOURS = {"-": "\x1b[31m", "+": "\x1b[32m", "@": "\x1b[36m"}  # by the first character of a line of the difference


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 1 if a file is at fault, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.recipe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a file in recipes/ without .yaml (default: list all)")
    parser.add_argument("--dry-run", action="store_true", help="show the difference, write nothing")
    chosen = parser.parse_args(arguments)
    try:
        recipes = available()
        if chosen.name is None:
            print("\n".join(f"{name:{max(map(len, recipes))}}  {summary}" for name, summary in recipes.items()))
        elif chosen.name in recipes:
            _write(chosen.name, chosen.dry_run)
        else:
            parser.error(f"NAME = {chosen.name!r}: there is no such recipe; {did_you_mean(chosen.name, recipes)}")
    except DarkroomError as error:
        sys.exit(f"recipe: {error}")
    except OSError as error:
        sys.exit(f"recipe: {params.PATH} is unchanged ({error}): free disk space, or make it and its folder writable.")


def available(folder: Path = RECIPES) -> dict[str, str]:
    """The first line of each recipe's comment, by name; raises DarkroomError if `folder` holds no recipes."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        remedy = f"run from the root of the project, or restore them with `git checkout {folder}`"
        raise DarkroomError(f"{folder} holds no recipes: {remedy}.")
    return {
        file.stem: file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].lstrip("# ") for file in files
    }


def applied(recipe: Path, path: Path = params.PATH) -> str:
    """The text of `path`, a params.yaml, with the values of `recipe` in it; no file is changed.

    Raises DarkroomError if `path` or the result is not valid, naming the files and the key.
    """
    values, changes = params.read(path), params.read(recipe)
    schema.check(values, str(path))
    if not isinstance(changes, dict):
        raise DarkroomError(f"{recipe} must hold sections of {path}, but holds {changes!r}.")
    merged = _merged(values, changes)
    schema.check(merged, f"{recipe} over {path}")
    text = _edited(_text(path), _text(recipe))
    if not _holds(text, merged):  # two sections may share an anchor
        raise DarkroomError(
            f"{recipe} cannot be merged into the YAML of {path}: restore it with `git checkout {path}`."
        )
    return text


def _write(name: str, dry_run: bool) -> None:
    after = applied(RECIPES / f"{name}.yaml")
    before = _text(params.PATH)
    if before == after:
        print(f"{params.PATH} already holds the recipe {name}: nothing changed.")
        return
    for line in difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"a/{params.PATH}", f"b/{params.PATH}", lineterm=""
    ):
        colour = COLOURS.get(line[0], "") if sys.stdout.isatty() else ""
        print(f"{colour}{line}\x1b[0m" if colour else line)
    if dry_run:
        print(f"\n{params.PATH} is unchanged.")
    else:
        write_text(params.PATH, after)
        print(f"\n{params.PATH} now holds the recipe {name}; `dvc repro` runs it.")


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8")  # read_text would change the line ends


def _merged(values: Any, changes: Any) -> Any:
    if not (isinstance(values, dict) and isinstance(changes, dict)):
        return changes
    return {**values, **{key: _merged(values.get(key), value) for key, value in changes.items()}}


def _edited(text: str, changes: str) -> str:
    """`text` with the values of `changes`, both YAML; comments, quotes, number formats and line ends are kept.

    A comment behind a value keeps its column if the new value leaves room.
    """
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = sys.maxsize  # no line is folded
    editor.indent(mapping=2, sequence=4, offset=2)
    document, edited = editor.load(text.replace("\r\n", "\n")), io.StringIO()
    _update(document, editor.load(changes.replace("\r\n", "\n")))
    editor.dump(document, edited)
    return edited.getvalue().replace("\n", "\r\n") if "\r\n" in text else edited.getvalue()


def _update(document: MutableMapping, changes: Mapping) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            _update(document[key], value)
        else:
            document[key] = value


def _holds(text: str, values: Any) -> bool:
    try:
        return yaml.load(text, params.Loader) == values  # Loader is a SafeLoader: plain values only
    except yaml.YAMLError:
        return False


if __name__ == "__main__":
    main()
