"""Classifies picture files from the command line, into a table.

    python -m darkroom.predict models/bundle pictures photo.jpg 'more/**/*.png' --output predictions.csv

A PATH is a file, a folder, which is searched in any depth for pictures by their extension, or a quoted pattern. What is
hidden is left out, and no link to a folder is followed. The table is CSV, a row a picture:

    path          as it was named or found; bytes that are no UTF-8 stand as \\udc80 to \\udcff
    label         the most probable class
    confidence    its probability
    abstained     true where the confidence is below the bundle's threshold: the answer should be withheld
    label_2 ...   the next classes, each with its confidence (--top-k)
    error         why the file could not be used; its answers are empty then
    bundle        the version of the bundle that answered

Killed at any moment, the same command goes on where it was: a picture that has its row is not looked at again, even if the
file has changed since. Run every day, it adds what has come in. To do pictures again, remove the table, or their rows.
"""

import argparse
import os
import stat
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from darkroom.bundle.classifier import Bundle, Manifest, picture, read, run
from darkroom.core.errors import DarkroomError
from darkroom.core.processor import cores
from darkroom.inputs.image import Unusable
from darkroom.predict.table import line, opened, printable

EXTENSIONS = (
    ".bmp",
    ".gif",
    ".jfif",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)  # of the pictures in a folder, in any case
MAX_BYTES = 2**28  # of one file: a larger one is not read
BLOCK = 16  # pictures that go through the network together, and rows between two writes


def named(paths: Iterable[str]) -> list[Path]:
    """The files and folders of these names, or that match them as patterns; none twice or inside another.

    Raises DarkroomError for a path that nothing matches.
    """
    found: list[Path] = []
    for path in paths:
        matches = [Path(path)] if os.path.lexists(path) else _matches(Path(path))
        if not matches:
            raise DarkroomError(
                f"{path!r} is missing: name a file, a folder, or a pattern that matches some, such as 'pictures/**/*.png'."
            )
        found += matches
    folders = {path for path in found if os.path.isdir(path)}
    return [path for path in dict.fromkeys(found) if folders.isdisjoint(path.parents)]


def _matches(pattern: Path) -> list[Path]:
    """What a pattern matches, sorted: hidden files only where it names some, and through no links, which may lead in a circle."""
    try:
        found = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
        return sorted(path for path in found if _is_hidden(pattern) or not _is_hidden(path))
    except (ValueError, IndexError):  # pathlib's, of a pattern that is empty or unknown to it
        return []


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)


def files(places: Iterable[Path]) -> Iterator[tuple[str, bool]]:
    """Each file at `places`, in the same order every time, and whether it is to be classified: all but what a folder holds beside pictures.

    Of a tree, it holds the names in one folder at a time. A folder that cannot be listed comes as a file that cannot be read.
    """
    for place in places:
        if not os.path.isdir(place):
            yield str(place), True
            continue
        waiting = [str(place)]
        while waiting:
            folder = waiting.pop()
            folders, others = [], []
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        shown = entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
                        (folders if shown else others).append(entry.name)
            except OSError:
                yield folder, True
            for name in sorted(others):
                yield os.path.join(folder, name), name.lower().endswith(EXTENSIONS) and not name.startswith(".")
            waiting += [os.path.join(folder, name) for name in sorted(folders, reverse=True)]


def answers(bundle: Bundle, paths: Iterator[str], threads: int) -> Iterator[list[tuple[str, np.ndarray | str]]]:
    """In blocks, each of `paths` with its probabilities (K,) float32, or why it cannot be used.

    Each of so many threads decodes and classifies a block. The bundle should be read for one: threads of its own only get in their way.
    """
    ahead: deque[Future[list[tuple[str, np.ndarray | str]]]] = deque()
    with ThreadPoolExecutor(threads) as workers:
        while block := list(islice(paths, BLOCK)):
            ahead.append(workers.submit(_classified, bundle, block))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _classified(bundle: Bundle, paths: list[str]) -> list[tuple[str, np.ndarray | str]]:
    answers = [_decoded(bundle.manifest, path) for path in paths]
    places = [place for place, image in enumerate(answers) if not isinstance(image, str)]
    if places:
        _, probabilities = run(bundle, np.stack([answers[place] for place in places]))
        for place, answer in zip(places, probabilities, strict=True):
            answers[place] = answer
    return list(zip(paths, answers, strict=True))


def _decoded(manifest: Manifest, path: str) -> np.ndarray | str:
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise Unusable("it is no file, or a folder that cannot be listed")
        if found.st_size > MAX_BYTES:
            raise Unusable(f"it has {found.st_size:,} bytes, more than {MAX_BYTES:,}")
        return picture(manifest, Path(path).read_bytes())
    except Unusable as reason:
        return str(reason)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"


def columns(top_k: int) -> list[str]:
    """The header of the table with so many classes a picture."""
    further = [f"{name}_{place}" for place in range(2, top_k + 1) for name in ("label", "confidence")]
    return ["path", "label", "confidence", "abstained", *further, "error", "bundle"]


def row(bundle: Bundle, path: str, answer: np.ndarray | str, top_k: int) -> list[str]:
    """The row of the picture at `path`, whose `answer` is its probabilities (K,) or why it cannot be used."""
    if isinstance(answer, str):
        return [printable(path), *[""] * (2 * top_k + 1), answer, _version(bundle)]
    best = np.argsort(-answer, kind="stable")[:top_k]
    label, confidence, *further = [
        text for place in best for text in (bundle.manifest.classes[place], f"{answer[place]:.6g}")
    ]
    abstained = bundle.manifest.withholds(float(answer[best[0]]))
    return [printable(path), label, confidence, str(abstained).lower(), *further, "", _version(bundle)]


def _version(bundle: Bundle) -> str:
    return f"{bundle.version}-{bundle.variant}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; ends with exit code 1 where it cannot begin or go on, and where no picture could be used."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="the exported classifier, such as models/bundle")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file, a folder, or a quoted pattern")
    parser.add_argument(
        "--output",
        default="predictions.csv",
        help="the table, added to where it is there; - prints it (default: %(default)s in this folder)",
    )
    parser.add_argument("--int8", action="store_true", help="run the model in 8 bits, where the bundle has one")
    parser.add_argument(
        "--threads", type=int, default=cores(), help="pictures are worked on in (default: one a core, %(default)s)"
    )
    parser.add_argument("--top-k", type=int, default=1, help="classes a picture (default: %(default)s)")
    options = parser.parse_args(arguments)
    if min(options.threads, options.top_k) < 1:
        parser.error("--threads and --top-k must be 1 at least")
    try:
        sys.exit(_run(options))
    except DarkroomError as error:
        sys.exit(f"predict: {error}")
    except BrokenPipeError:  # who reads the standard output has seen enough
        sys.exit(0)
    except OSError as error:
        sys.exit(
            f"predict: {options.output} cannot be written ({error.strerror or error}): put that right, and the same command goes on."
        )
    except KeyboardInterrupt:
        print("predict: stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)


def _run(options: argparse.Namespace) -> int:
    """Does what the command line says; returns the exit code."""
    places = named(options.paths)
    bundle = read(options.bundle, 1, "int8" if options.int8 else "fp32")
    if options.top_k > len(bundle.manifest.classes):
        raise DarkroomError(
            f"--top-k is {options.top_k}, but {options.bundle} has {len(bundle.manifest.classes)} classes: ask for no more."
        )
    if not any(wanted for _, wanted in files(places)):
        raise DarkroomError(
            f"{', '.join(options.paths)}: there is no picture, which in a folder ends in {', '.join(EXTENSIONS)}; name another path."
        )
    with opened(options.output, columns(options.top_k), _version(bundle)) as (table, earlier):
        found = Counter(
            ("earlier" if path in earlier else "new") if wanted else "other" for path, wanted in files(places)
        )
        new = (path for path, wanted in files(places) if wanted and path not in earlier)
        rows, errors = len(earlier.hashes), earlier.errors
        with tqdm(total=found["new"], desc="predict", unit="picture", disable=None) as bar:
            for block in answers(bundle, new, options.threads):
                table.writelines(line(row(bundle, path, answer, options.top_k)) for path, answer in block)
                table.flush()
                rows += len(block)
                errors += sum(isinstance(answer, str) for _, answer in block)
                bar.update(len(block))
    said = (
        f"{options.output} has {rows} pictures, {errors} of them unusable (see the column error); {found['new']} are new, "
        f"{found['earlier']} were done before; {found['other']} other files left out"
    )
    print(said, file=sys.stderr if options.output == "-" else sys.stdout)
    return int(errors == rows)
