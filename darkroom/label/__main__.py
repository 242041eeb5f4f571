"""Label examples on a local page, one after another, with the keyboard.

    python -m darkroom.label
    python -m darkroom.label --suspects
    python -m darkroom.label --by anna --second-opinions

Shows examples whose label may be wrong, or unlabelled ones: those that .darkroom/queue/queue.csv names, until all of
these have an answer. Each answer is a row of labels.csv in the data set's folder, on the disk before the next example
shows. `dvc repro` then trains with the new labels.
"""

import argparse
import csv
import getpass
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import NOUNS, counted, plural
from darkroom.datasets import answers, descriptions
from darkroom.datasets.config import DataConfig
from darkroom.datasets.descriptions import ImageFolder
from darkroom.label import agreement, examples
from darkroom.label.examples import Chosen, Packed
from darkroom.label.guess import Guesses
from darkroom.label.images import Images
from darkroom.label.journal import Journal
from darkroom.label.session import Session
from darkroom.label.texts import Texts
from darkroom.preprocess.config import PreprocessConfig

LOCKS = Path(".darkroom/label")
_NAME = re.compile(r"[^\W_][\w .@-]{0,63}")  # a spreadsheet would take a name that begins with = or + for a formula


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 1 if data or files are at fault, 2 if the command is wrong."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    chosen.by = chosen.by or _login()
    if not _NAME.fullmatch(chosen.by):
        parser.error(f"--by {chosen.by!r}: must be a name of at most 64 letters, digits, blanks, '.', '-', '@' or '_'")
    if chosen.suspects is not None and chosen.second_opinions:
        parser.error("--suspects and --second-opinions: choose one of them")
    try:
        _run(chosen)
    except (DarkroomError, OSError) as error:
        sys.exit(f"label: {error}")


def _run(chosen: argparse.Namespace) -> None:
    data, preprocess = params.load(data=DataConfig, preprocess=PreprocessConfig)
    dataset = descriptions.load(data.dataset)
    if chosen.agreement:
        print(_agreement(dataset.folder / answers.FILE))
        return
    packed = Packed()
    if packed.manifest.kind not in ("image", "text"):
        raise DarkroomError(
            f"the page shows images and texts, and {packed.manifest.title} has "
            f"{plural(NOUNS[packed.manifest.kind])}: change the files of the data set and run `dvc repro`."
        )
    if packed.manifest.dataset != data.dataset:
        raise DarkroomError(
            f"data/arrays holds {packed.manifest.dataset}, and data.dataset = {data.dataset}: "
            "run `dvc repro preprocess`."
        )
    journal = Journal(dataset.folder, LOCKS / f"{data.dataset}.lock", chosen.by)
    try:
        opened = _chosen(packed, journal, chosen)
        folder = dataset.folder if isinstance(dataset, ImageFolder) else None
        is_text = packed.manifest.kind == "text"
        inputs = Texts(packed) if is_text else Images(packed, folder, preprocess.max_pixels)
        session = Session(journal, opened, packed.manifest.classes, packed.label, chosen.second_opinions)
        repaired = [f"cut off an incomplete row: {journal.repaired!r}"] if journal.repaired else []
        for note in (*repaired, *opened.notes):
            print(f"label: {note}", file=sys.stderr)
        about = {
            "title": packed.manifest.title,
            "classes": packed.manifest.classes,
            "by": chosen.by,
            "source": opened.source,
            "file": str(journal.path),
        }
        _serve(session, Guesses(inputs, packed.manifest.classes), about, chosen.port)
    finally:
        journal.close()


def _chosen(packed: Packed, journal: Journal, chosen: argparse.Namespace) -> Chosen:
    """The examples to show; raises DarkroomError if there are none."""
    opinions = answers.opinions(journal.rows)
    if chosen.second_opinions:
        found = examples.second_opinions(packed, opinions, chosen.by)
        missing = f"no examples in {journal.path} that others have labelled and {chosen.by} has not"
    elif chosen.suspects is not None:
        paths = [Path(chosen.suspects)] if chosen.suspects else [path for path in examples.SUSPECTS if path.exists()]
        if not paths:
            raise DarkroomError("there are no suspect labels: run `dvc repro` or `python -m darkroom.crossval`.")
        found, missing = examples.suspects(packed, paths), f"no suspect labels in {', '.join(map(str, paths))}"
    else:
        found = examples.queue(packed, examples.QUEUE) if examples.QUEUE.exists() else None
        if found is None or all(one.id in opinions for one in found.examples):
            found = examples.unlabelled(packed)
        missing = f"{packed.manifest.title} has no unlabelled examples; --suspects shows labels that may be wrong"
    if not found.examples:
        raise DarkroomError(f"there is nothing to label: {missing}.")
    return found


def _serve(session: Session, guesses: Guesses, about: dict, port: int) -> None:
    import uvicorn

    from darkroom.label import app
    from darkroom.serve import listening

    with listening.bind("127.0.0.1", port) as listener:
        state = session.state()
        print(
            f"http://127.0.0.1:{listener.getsockname()[1]} shows {counted(state['total'], 'example')} to {about['by']} "
            f"({about['source']}, {state['done']:,} done). Answers: {about['file']}. Stop with Ctrl+C.",
            file=sys.stderr,
            flush=True,
        )
        config = uvicorn.Config(
            app.build(session, guesses, about),
            lifespan="off",
            ws="none",
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        uvicorn.Server(config).run([listener])


def _agreement(path: Path) -> str:
    """Agreement between people, one line per pair."""
    try:
        opinions = answers.opinions(answers.parse(path.read_text(encoding="utf-8-sig"))) if path.exists() else {}
    except (ValueError, csv.Error) as error:
        raise DarkroomError(f"{path} is invalid: {error}. Correct it.") from None
    pairs = agreement.pairs(opinions)
    if not pairs:
        return f"{path} has no example with the labels of two people: run `python -m darkroom.label --second-opinions`."
    lines = [
        f"{pair.one} and {pair.other}: {pair.agreed / pair.examples:.1%} of {counted(pair.examples, 'example')}, "
        f"Cohen's kappa {'undefined' if pair.kappa is None else f'{pair.kappa:.3f}'}"
        for pair in pairs
    ]
    return "\n".join([*lines, f"{counted(len(agreement.disputed(opinions)), 'example')} with different labels"])


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user, as in some containers
        return "somebody"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.label", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--by", metavar="NAME", help="who labels (default: the login name)")
    parser.add_argument(
        "--suspects",
        nargs="?",
        const="",
        metavar="FILE",
        help="show labels that may be wrong: the tables of darkroom.crossval and of the stage evaluate, or FILE",
    )
    parser.add_argument(
        "--second-opinions", action="store_true", help="show what others have labelled, without their labels"
    )
    parser.add_argument("--agreement", action="store_true", help="print how often people agree, and stop")
    parser.add_argument("--port", type=_port, default=8001, help="port to listen on; 0: any (default: %(default)s)")
    return parser


def _port(text: str) -> int:
    if not 0 <= (value := int(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 65535")
    return value


if __name__ == "__main__":
    main()
