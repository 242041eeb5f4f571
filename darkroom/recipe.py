"""Named recipes: parameters that belong together, written into params.yaml by `python -m darkroom.recipe NAME`.

A recipe, recipes/NAME.yaml, holds just the parameters that it sets; its comment says what it costs and what it reaches.
The text of params.yaml is edited value by value, so that everything else in it stays as it is, byte for byte.
"""

import argparse
import difflib
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from darkroom import schema
from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import write_text

RECIPES = Path("recipes")
COLOURS = {
    "-": "\x1b[31m",
    "+": "\x1b[32m",
    "@": "\x1b[36m",
}  # of a line of a diff, by its first character: red, green, cyan


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; ends with exit code 1 where a file is at fault, 2 (as argparse does) where the command is."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.recipe",
        description="Writes a recipe's parameters into params.yaml, and shows the difference.",
    )
    parser.add_argument("name", nargs="?", help="a file in recipes/, without its .yaml; without a name, all are listed")
    parser.add_argument("--dry-run", action="store_true", help="show the difference, write nothing")
    options = parser.parse_args(arguments)
    try:
        recipes = available()
        if options.name is None:
            print("\n".join(f"{name:{max(map(len, recipes))}}  {summary}" for name, summary in recipes.items()))
        elif options.name in recipes:
            _write(options.name, options.dry_run)
        else:
            nearest = difflib.get_close_matches(options.name, recipes, 1)
            remedy = f"did you mean {nearest[0]}? " if nearest else ""
            parser.error(f"there is no recipe {options.name!r}: {remedy}The recipes are {', '.join(recipes)}.")
    except DarkroomError as error:
        sys.exit(f"recipe: {error}")
    except OSError as error:
        sys.exit(
            f"recipe: {params.PATH} was left as it is ({error}): free some space, or make the file and its folder accessible."
        )


def available(folder: Path = RECIPES) -> dict[str, str]:
    """The recipes in `folder`, by name, each with the first line of its comment; raises DarkroomError where there are none."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise DarkroomError(
            f"There are no recipes in {folder}: run from the root of the project, or restore them with `git checkout {folder}`."
        )
    return {
        file.stem: file.read_text(encoding="utf-8", errors="replace").partition("\n")[0].lstrip("# ") for file in files
    }


def applied(recipe: Path, path: Path = params.PATH) -> str:
    """The text of `path`, a params.yaml, with the values of `recipe` in it, written as they are there; no file is changed.

    A comment behind a changed value keeps its column where the value leaves room. Raises DarkroomError where `path` or
    the result is not valid, naming the files and the key.
    """
    before, changes = params.read(path), params.read(recipe)
    schema.check(before, str(path))
    after = _merged(before, changes)
    schema.check(after, f"{recipe} over {path}")
    original, source = _text(path), _text(recipe)
    places, values = _leaves(original), _leaves(source)
    text = original
    for key in sorted(
        values, key=lambda key: places[key].start_mark.index, reverse=True
    ):  # from the end, so that the places before stay right
        start, end = places[key].start_mark.index, places[key].end_mark.index
        value = source[values[key].start_mark.index : values[key].end_mark.index]
        if value != original[start:end]:
            spaces = _spaces_before_comment(original, places, key, len(value))
            text = text[:start] + value + spaces + text[end:].removeprefix(_gap(original, places[key]))
    if not _holds(text, after):  # anchors, or values of several lines
        raise DarkroomError(
            f"{path} is written in a way in which {recipe} cannot be put into it: restore the file with `git checkout {path}`."
        )
    return text


def _write(name: str, dry_run: bool) -> None:
    after = applied(RECIPES / f"{name}.yaml")
    before = _text(params.PATH)
    if before == after:
        print(f"{params.PATH} holds the recipe {name} already: nothing changed.")
        return
    for line in difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"a/{params.PATH}", f"b/{params.PATH}", lineterm=""
    ):
        colour = COLOURS.get(line[0], "") if sys.stdout.isatty() else ""
        print(f"{colour}{line}\x1b[0m" if colour else line)
    if dry_run:
        print(f"\n{params.PATH} was left as it is.")
    else:
        write_text(params.PATH, after)
        print(f"\n{params.PATH} holds the recipe {name} now; `dvc repro` runs it.")


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8")  # not read_text, which would change the line ends


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _holds(text: str, values: Any) -> bool:
    try:
        return yaml.load(text, params.Loader) == values  # Loader is a SafeLoader: plain values only
    except yaml.YAMLError:
        return False


def _leaves(text: str) -> dict[str, yaml.Node]:
    """The values in a YAML text that are no sections, by dotted key, each with its place in the text."""

    def walk(node: yaml.Node, keys: tuple[str, ...]) -> Iterator[tuple[str, yaml.Node]]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                yield from walk(value, (*keys, str(key.value)))
        else:
            yield ".".join(keys), node

    return dict(walk(yaml.compose(text, yaml.SafeLoader), ()))


def _gap(text: str, place: yaml.Node) -> str:
    """The spaces between a value and the comment behind it; none where there is no comment."""
    gap = re.compile(" +(?=#)").match(text, place.end_mark.index)
    return gap[0] if gap else ""


def _spaces_before_comment(text: str, places: dict[str, yaml.Node], key: str, length: int) -> str:
    """What `_gap` is to be once the value of `key` has `length` characters."""
    columns = {
        name: place.end_mark.column + len(_gap(text, place)) for name, place in places.items() if _gap(text, place)
    }
    if key not in columns:
        return ""
    column, place = columns[key], places[key]
    if len(_gap(text, place)) == 1:  # a long value may have pushed it out of the file's usual column: back it goes
        column = min(column, statistics.mode(columns.values()))
    return " " * max(1, column - place.start_mark.column - length)


if __name__ == "__main__":
    main()
