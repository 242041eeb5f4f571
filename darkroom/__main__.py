"""List the commands."""

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from darkroom.core.spelling import closest

DVC = {
    "dvc repro": "Run the pipeline: every stage whose code, data or parameters changed.",
    "dvc exp run -S train.lr=0.0005": "Run it with changed parameters, as an experiment.",
    "dvc exp show": "List the experiments with their parameters and metrics.",
    "dvc metrics diff HEAD~1": "Compare the metrics of two commits.",
    "dvc plots show": "Draw the plots as an HTML page.",
}


def commands() -> dict[str, str]:
    """What each command does, by the name of its module: `darkroom.audit`."""
    return dict(sorted(_commands(Path(__file__).parent)))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 2 for an argument other than --help."""
    arguments = sys.argv[1:] if arguments is None else arguments
    found = commands()
    if arguments and arguments[0] not in ("-h", "--help"):
        print(f"darkroom: {_rejected(arguments[0], found)}", file=sys.stderr)
        sys.exit(2)
    print("Commands of Darkroom; each has --help:\n")
    print(_table({f"python -m {name}": summary for name, summary in found.items()}))
    print("\nCommands of DVC, from the root of the project:\n")
    print(_table(DVC))


def _commands(package: Path) -> Iterator[tuple[str, str]]:
    """Modules and rooms that can be run; they are parsed, not imported, since their imports take seconds."""
    for file in [*package.glob("[!_]*.py"), *package.glob("*/__main__.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if file.stem == "__main__" or any(isinstance(node, ast.If) and _is_main(node) for node in tree.body):
            name = file.parent.name if file.stem == "__main__" else file.stem
            summary = (ast.get_docstring(tree) or "").partition("\n\n")[0]
            yield f"{package.name}.{name}", " ".join(summary.split())


def _is_main(node: ast.If) -> bool:
    return ast.unparse(node.test) == "__name__ == '__main__'"


def _rejected(argument: str, found: dict[str, str]) -> str:
    names = {name.partition(".")[2]: name for name in found}
    suggested = closest(argument.removeprefix("darkroom."), names, cutoff=0.6)
    if suggested:
        return f"unknown argument {argument!r}; did you mean python -m {names[suggested]}?"
    return f"unknown argument {argument!r}; python -m darkroom lists the commands."


def _table(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"  {command:{width}}  {summary}" for command, summary in rows.items())


if __name__ == "__main__":
    main()
