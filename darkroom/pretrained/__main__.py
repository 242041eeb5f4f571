"""List the pretrained weights, or add some from the Hugging Face Hub.

    python -m darkroom.pretrained
    python -m darkroom.pretrained add timm/resnet50.a1_in1k

`add` downloads the weights of a timm network, and writes data/pretrained/<name>/weights.yaml with the revision and the
digest of what it downloaded. Commit this file; then train from the weights. Both commands print how, for example:

    dvc exp run -S model.name=timm -S model.pretrained=NAME -S preprocess.color=rgb -S preprocess.image_size=224
"""

import argparse
import sys
from collections.abc import Sequence

from darkroom.core.errors import DarkroomError
from darkroom.pretrained import descriptions, hub


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 1 if weights cannot be described or added, 2 if the command is wrong."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.pretrained", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command")
    add = commands.add_parser("add", help="add the weights of a repository of the Hugging Face Hub")
    add.add_argument("repository", metavar="REPO", help="owner/name of a timm network, such as timm/resnet50.a1_in1k")
    add.add_argument("--revision", default="main", help="branch, tag or commit; pinned to its commit (default: main)")
    add.add_argument("--name", help="name of the folder (default: the repository's)")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "add":
            print(hub.add(chosen.repository, chosen.revision, chosen.name))
        else:
            print(_table())
    except DarkroomError as error:
        sys.exit(f"pretrained: {error}")


def _table() -> str:
    """One line per folder: name, size, network, licence, title. Then the command to train from each of the weights."""
    weights = list(map(descriptions.load, descriptions.known()))
    rows = [
        (one.name, f"{one.bytes / 1e6:.0f} MB", f"{one.family} {one.architecture}".strip(), one.licence, one.title)
        for one in weights
    ]
    rows.insert(0, ("name", "size", "network", "licence", "title"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*table, "", *(one.command() for one in weights)])


if __name__ == "__main__":
    main()
