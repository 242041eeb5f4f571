"""Classify image files, tables of texts or of rows, or recommend items, and write the results to a CSV table.

    python -m darkroom.predict photos photo.jpg 'more/**/*.png' --output predictions.csv

A PATH is a file, a folder or a quoted pattern. Folders are searched at any depth for files that are images by their
contents or by their extension. Hidden files are skipped, and links to folders are not followed. The table has one row
per image:

    path          as given or found; bytes that are not UTF-8 appear as \\udc80 to \\udcff
    label         the most probable class
    confidence    its probability
    abstained     true if the confidence is below the bundle's threshold, or if it has none: withhold the prediction
    set           the classes that remain possible, as a JSON list (--sets): see docs/calibration.md
    label_2 ...   the next classes, each with its confidence (--top-k)
    error         why the file is not usable; its predictions are empty
    bundle        version of the bundle

With a bundle of texts, a PATH is a .csv, .tsv or .jsonl file with a column `text`, or a folder of such files. The table
has one row per text: row (file and number), label, confidence, abstained, answer (of answers.csv; empty if abstained
is true: hand over to a person), with a table of questions also faq_question, faq_answer and faq_similarity of the most
similar one, and further columns as above.

With a bundle of rows of a table, a PATH is a .csv or .tsv file with the columns of the training rows, or a folder of
such files. The table has one row per row: row (file and number), label, confidence, abstained, risk and decision (if
there is a positive class), unknown (columns with a category that fewer than five training rows have) and outside
(columns with a number outside of the range of the training rows), and further columns as above.

With a bundle of histories, a PATH is a .csv, .tsv or .jsonl file of events with the columns user, item and timestamp,
or a folder of such files. The table has --count rows per user, and replaces an earlier one:

    user, rank    rank 1 is the most probable next item
    item, title   the item
    probability   that it is the next item, of all items
    based_on      history; or popularity if no item of the user is known: then its fraction of the training events
    bundle        version of the bundle

If interrupted, rerun the command: except for histories it resumes, and the table is the same. Images that already have
a row are skipped, even if the file has changed; new images are added. To classify images again, delete the table or
their rows.
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
from typing import get_args

import numpy as np
from tqdm import tqdm

from darkroom.bundle.classifier import MANIFEST, VARIANTS, Bundle, decode_image, read, run
from darkroom.bundle.manifest import Manifest, SetKind
from darkroom.core.errors import DarkroomError
from darkroom.core.processor import cores
from darkroom.core.spelling import counted, plural
from darkroom.inputs import formats
from darkroom.inputs.image import Unusable
from darkroom.predict import classifications
from darkroom.predict.table import line, opened

DEFAULT_BUNDLE = "models/bundle"
# A file in a folder with such a name, in upper or lower case, has a row even if it is damaged
EXTENSIONS = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_BYTES = 2**28  # larger files are not read
BLOCK = 16  # images per batch, and rows per write


def expand(paths: Iterable[str]) -> list[Path]:
    """The files and folders that have these names or match these patterns; none twice or inside another.

    Raises DarkroomError if a path matches nothing.
    """
    found: list[Path] = []
    for path in paths:
        matches = [Path(path)] if os.path.lexists(path) else _matches(Path(path))
        if not matches:
            raise DarkroomError(
                f"{path!r} does not exist: give a file, a folder, or a pattern that matches files, such as "
                "'photos/**/*.png'."
            )
        found += matches
    folders = {path for path in found if os.path.isdir(path)}
    return [path for path in dict.fromkeys(found) if folders.isdisjoint(path.parents)]


def _matches(pattern: Path) -> list[Path]:
    """The files that a pattern matches, sorted; hidden ones only if it names some. Links are not followed."""
    try:
        found = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
        return sorted(path for path in found if _is_hidden(pattern) or not _is_hidden(path))
    except (ValueError, IndexError):  # from pathlib, for an empty or invalid pattern
        return []


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)


def files(paths: Iterable[Path]) -> Iterator[tuple[str, bool]]:
    """Every file at `paths`, in a fixed order, and whether to classify it: all but other files in folders.

    Memory holds the names in one folder at a time. A folder that cannot be listed appears as a file, which then fails.
    """
    for path in paths:
        if not os.path.isdir(path):
            yield str(path), True
            continue
        waiting = [str(path)]
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
                yield os.path.join(folder, name), not name.startswith(".") and _is_image(folder, name)
            waiting += [os.path.join(folder, name) for name in sorted(folders, reverse=True)]


def _is_image(folder: str, name: str) -> bool:
    """Whether a file is an image by its name or by its contents, also of an unsupported format."""
    if name.lower().endswith(EXTENSIONS):
        return True
    path = os.path.join(folder, name)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return formats.is_image(file.read(formats.START))
    except OSError:
        return False


def answers(bundle: Bundle, paths: Iterator[str], threads: int) -> Iterator[list[tuple[str, np.ndarray | str]]]:
    """Yield blocks of `paths`, each path with its probabilities (K,) float32 or the reason why it is not usable.

    Each thread decodes and classifies one block. Read the bundle with threads=1: more would compete with these threads.
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
    usable = [index for index, image in enumerate(answers) if not isinstance(image, str)]
    if usable:
        _, probabilities = run(bundle, np.stack([answers[index] for index in usable]))
        for index, answer in zip(usable, probabilities, strict=True):
            answers[index] = answer
    return list(zip(paths, answers, strict=True))


def _decoded(manifest: Manifest, path: str) -> np.ndarray | str:
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise Unusable("not a file, or a folder that cannot be listed")
        if found.st_size > MAX_BYTES:
            raise Unusable(f"{found.st_size:,} bytes, more than {MAX_BYTES:,}")
        return decode_image(manifest, Path(path).read_bytes())
    except Unusable as reason:
        return str(reason)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def columns(top_k: int, sets: SetKind | None = None) -> list[str]:
    """The header of the table with `top_k` classes per image and, if asked for, prediction sets."""
    return classifications.columns(["path", "label", "confidence", "abstained"], top_k, sets)


def row(bundle: Bundle, path: str, answer: np.ndarray | str, top_k: int, sets: SetKind | None = None) -> list[str]:
    """The row of the image at `path`; `answer` is its probabilities (K,), or the reason why it is not usable."""
    if isinstance(answer, str):
        return [path, *[""] * (len(columns(top_k, sets)) - 3), answer, _version(bundle)]
    best, further = classifications.cells(bundle, answer, top_k, sets)
    return [path, *best, *further, "", _version(bundle)]


def _version(bundle: Bundle) -> str:
    return f"{bundle.version}-{bundle.variant}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; exits with 1 if it cannot start or continue or no image was usable, 2 if an option is wrong."""
    parser = argparse.ArgumentParser(
        "python -m darkroom.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file, a folder, or a quoted pattern")
    parser.add_argument(
        "--bundle", default=DEFAULT_BUNDLE, metavar="FOLDER", help="folder of the bundle (default: %(default)s)"
    )
    parser.add_argument(
        "--output",
        default="predictions.csv",
        metavar="FILE",
        help="the table; rows are added, except for histories; - prints it (default: %(default)s)",
    )
    parser.add_argument("--int8", action="store_true", help="run the int8 model, if the bundle has one")
    parser.add_argument(
        "--threads", type=int, default=cores(), metavar="N", help="worker threads (default: one per core, %(default)s)"
    )
    parser.add_argument("--top-k", type=int, default=1, metavar="N", help="classes per image (default: %(default)s)")
    parser.add_argument(
        "--count", type=int, metavar="N", help="items per user, with a bundle of histories (default: 10)"
    )
    parser.add_argument(
        "--keep-seen", action="store_true", help="also recommend items that a user had, with a bundle of histories"
    )
    parser.add_argument("--sets", choices=get_args(SetKind), help="add conformal prediction sets of this kind")
    parser.add_argument(
        "--language", default="", metavar="CODE", help="of the answers to texts, such as de; else one that there is"
    )
    options = parser.parse_args(arguments)
    if min(options.threads, options.top_k, 1 if options.count is None else options.count) < 1:
        parser.error("--threads, --top-k and --count must be at least 1")
    try:
        sys.exit(_run(options))
    except argparse.ArgumentError as error:
        parser.error(str(error))
    except DarkroomError as error:
        sys.exit(f"predict: {error}")
    except BrokenPipeError:  # the reader of the standard output has stopped
        sys.exit(0)
    except OSError as error:
        sys.exit(
            f"predict: {options.output} cannot be written ({error.strerror or error}): fix this and rerun the command, "
            "which resumes."
        )
    except KeyboardInterrupt:
        print("predict: stopped; rerun the command to resume", file=sys.stderr)
        sys.exit(130)


def _require_fitting(options: argparse.Namespace, kind: str) -> None:
    """Raise ArgumentError for an option that bundles of this kind do not have."""
    if kind == "history":
        given, instead = {"--top-k": options.top_k != 1, "--sets": options.sets}, "use --count"
    else:
        given, instead = {"--count": options.count, "--keep-seen": options.keep_seen}, "use --top-k"
    if wrong := next((name for name, value in given.items() if value), None):
        bundle = f"{options.bundle}, a bundle of {plural(kind)}"
        raise argparse.ArgumentError(None, f"{wrong} does not fit {bundle}: {instead}.")


def _run(options: argparse.Namespace) -> int:
    """Classify as the options say; returns the exit code."""
    first = options.paths[0]
    if all(Path(first, name).is_file() for name in (MANIFEST, VARIANTS["fp32"])):
        raise DarkroomError(f"{first} is a bundle, not a folder of images: use --bundle {first}.")
    paths = expand(options.paths)
    bundle = read(options.bundle, 1, "int8" if options.int8 else "fp32")
    if options.top_k > len(bundle.manifest.classes):
        raise argparse.ArgumentError(
            None,
            f"--top-k {options.top_k}: must be at most {len(bundle.manifest.classes)}, the number of classes of "
            f"{options.bundle}.",
        )
    _require_fitting(options, bundle.manifest.kind)
    if bundle.manifest.kind != "image":
        from darkroom.predict import histories, tables, texts  # which images need not import

        kind = {"text": texts, "table": tables, "history": histories}[bundle.manifest.kind]
        return kind.run(bundle, paths, options, _version(bundle))
    if not any(wanted for _, wanted in files(paths)):
        others = sum(1 for _ in files(paths))
        raise DarkroomError(f"{', '.join(options.paths)}: no images found, {counted(others, 'other file')}.")
    with opened(options.output, columns(options.top_k, options.sets), _version(bundle)) as (table, earlier):
        found = Counter(
            ("earlier" if path in earlier else "new") if wanted else "other" for path, wanted in files(paths)
        )
        new = (path for path, wanted in files(paths) if wanted and path not in earlier)
        rows, errors = len(earlier.hashes), earlier.errors
        with tqdm(total=found["new"], desc="predict", unit="image", disable=None) as bar:
            for block in answers(bundle, new, options.threads):
                table.writelines(line(row(bundle, path, answer, options.top_k, options.sets)) for path, answer in block)
                table.flush()
                rows += len(block)
                errors += sum(isinstance(answer, str) for _, answer in block)
                bar.update(len(block))
    summary = (
        f"{options.output}: {counted(rows, 'image')}, {found['new']} new, {found['earlier']} classified earlier; "
        f"{errors} unusable (see column error); {counted(found['other'], 'other file')} skipped"
    )
    return classifications.finish(bundle, options.output, summary, rows, errors)
