"""Choose the unlabelled examples to label next.

    python -m darkroom.acquire --count 50
    python -m darkroom.acquire --count 200 --strategy badge

Writes .darkroom/queue/: queue.csv (with the texts), sheet.png (the images), and queue.json for other tools. `python -m
darkroom.label` then shows these examples first, unless they are rows. Examples that labels.csv answers already are left
out, and so are near duplicates of chosen ones. Features are those of models/trained; before the first training those of
the pretrained weights, or of the images, texts or rows alone.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from darkroom.acquire import batch, embedding, queue
from darkroom.acquire.embedding import SOURCES, TRAINED, Source
from darkroom.acquire.strategies import NEED_LABELLED, NEED_MODEL, STRATEGIES, Choice, Pool
from darkroom.core import arrays, params
from darkroom.core.arrays import Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.core.randomness import numpy_generator
from darkroom.core.spelling import counted
from darkroom.datasets import answers, descriptions
from darkroom.models.config import ModelConfig
from darkroom.preprocess.cold_start import draw

FEW = 10  # labels per class on average: with fewer, `auto` chooses typical examples, not those the model is unsure of
COLD, WARM = "typiclust", "margin"  # what `auto` chooses with few and with more labels (docs/labels.md)
HELD_OUT = "drawn at random for validation or test"  # the reason of a choice that no strategy makes
# By kind of example
DISTINCT = {"image": batch.distinct_images, "text": batch.distinct_texts, "table": batch.distinct_rows}
_WHERE = {
    "image": "images into the folder unlabelled/",
    "text": "texts into unlabelled.csv",
    "table": "rows without a class into a table",
}
_CLASSES = 20  # whose counts are printed
_FEATURES = {
    "trained": "features of models/trained",
    "pretrained": "features of models/pretrained",
    "images": "features of the images alone",
    "texts": "the tokens of the texts alone",
    "rows": "the standardised columns alone",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: exit code 1 if data or models are at fault, 2 if the command is wrong."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.count < 1:
        parser.error(f"--count {chosen.count}: must be at least 1")
    try:
        _run(chosen)
    except (DarkroomError, OSError) as error:
        sys.exit(f"acquire: {error}")


def strategy(wanted: str, has_model: bool, labelled: int, classes: int) -> str:
    """The strategy; for "auto" it depends on whether there is a trained model and on the number of labels."""
    if wanted != "auto":
        return wanted
    return WARM if has_model and labelled >= FEW * classes else COLD


def _run(chosen: argparse.Namespace) -> None:
    seed, model = params.load(seed=params.Seed, model=ModelConfig)
    manifest = arrays.read_manifest("data/arrays")
    if manifest.kind == "history":
        raise DarkroomError(
            f"{manifest.title} has histories, which people do not label: the next event of a user is the label. Add "
            "newer events to the data set and run `dvc repro`."
        )
    train, unlabelled = arrays.read_split("data/arrays", "train"), arrays.read_unlabelled("data/arrays")
    if unlabelled is None or not len(unlabelled):
        raise DarkroomError(
            f"{manifest.title} has no unlabelled examples: put {_WHERE[manifest.kind]} of the data set and run "
            "`dvc repro`; or hide labels with preprocess.labels_per_class."
        )
    known = _answered(manifest)
    answered = np.array([example in known for example in unlabelled.ids.tolist()])
    free = np.flatnonzero(~answered)
    if chosen.count > len(free):
        raise DarkroomError(
            f"--count {chosen.count}: must be at most {len(free)}, the number of unlabelled examples"
            + (f" without an answer in {answers.FILE}." if answered.any() else ".")
        )
    source = embedding.find(chosen.features, model)
    name = strategy(chosen.strategy, source.name == TRAINED, len(train) + answered.sum(), len(manifest.classes))
    if name in NEED_MODEL and source.name != TRAINED:
        raise DarkroomError(
            f"--strategy {name} needs the predictions of a trained model: run `dvc repro train` and use --features "
            "trained, or choose typiclust, coreset or random."
        )
    random = numpy_generator(seed if chosen.seed is None else chosen.seed, "acquire")
    own, held_out = _by_draw(manifest, unlabelled, free)
    fraction, choices, predictions = sum(manifest.drawn.values()), iter(()), None
    if len(own):
        pool = _pool(source, name, train, unlabelled, own, answered, random)
        wanted, predictions = max(1, round((1 - fraction) * chosen.count)), pool.predictions
        choices = (choice._replace(index=own.item(choice.index)) for choice in STRATEGIES[name](pool, wanted, random))
    at_random = (Choice(index, None, HELD_OUT) for index in random.permutation(held_out).tolist())
    choices = batch.interleaved(choices, at_random, fraction)
    contents, distinct = _contents(manifest, unlabelled), DISTINCT[manifest.kind]
    found, skipped = batch.fill(
        choices, chosen.count, lambda indices: distinct(contents(indices), manifest.augmentation.flip)
    )
    predicted = [
        manifest.classes[predictions.label[np.searchsorted(own, choice.index)]]
        if predictions and choice.reason != HELD_OUT
        else ""
        for choice in found
    ]
    rows = [
        (rank, unlabelled.ids[choice.index], choice.score, label, choice.reason)
        for rank, (choice, label) in enumerate(zip(found, predicted, strict=True), 1)
    ]
    counts = {
        "labelled": len(train),
        "unlabelled": len(unlabelled),
        "answered": int(answered.sum()),
        "chosen": len(found),
        "near_duplicates_left_out": skipped,
        **({"held_out": sum(choice.reason == HELD_OUT for choice in found)} if manifest.drawn else {}),
    }
    about = {
        "strategy": name,
        "asked": chosen.strategy,
        "features": source.name,
        "model_sha256": source.sha256,
        "data_sha256": manifest.sha256,
        "seed": seed if chosen.seed is None else chosen.seed,
        "count": chosen.count,
        "counts": counts,
        "predicted_classes": {label: predicted.count(label) for label in manifest.classes} if predictions else None,
    }
    shown = np.array([choice.index for choice in found])
    in_queue = {"image": lambda: contents(shown[: queue.SHOWN]), "text": lambda: contents(shown), "table": lambda: None}
    queue.write(rows, in_queue[manifest.kind](), about)
    for line in _lines(about, manifest):
        print(line)


def _by_draw(manifest: Manifest, unlabelled: Split, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of the examples at `free` (n,) that may be chosen for training, and those drawn for validation or test.

    The latter are none if all classes have labelled examples of their own.
    """
    if not manifest.drawn:
        return free, free[:0]
    groups = arrays.read_columns("data/arrays", arrays.UNLABELLED).get("group")
    names = [(groups is not None and groups[index]) or unlabelled.ids.item(index) for index in free.tolist()]
    for_training = draw(names, manifest.drawn) == "train"
    return free[for_training], free[~for_training]


def _contents(manifest: Manifest, unlabelled: Split) -> Callable[[np.ndarray], Any]:
    """What gives the inputs (n, ...), or the n texts, of the unlabelled examples at some indices (n,)."""
    if manifest.kind != "text":
        return lambda indices: unlabelled.inputs[indices]
    texts = arrays.read_texts("data/arrays", arrays.UNLABELLED)
    return lambda indices: [texts[index] for index in indices.tolist()]


def _pool(
    source: Source,
    name: str,
    train: Split,
    unlabelled: Split,
    free: np.ndarray,
    answered: np.ndarray,
    random: np.random.Generator,
) -> Pool:
    """What the strategy needs to know of those at `free` (n,); `answered` (N,) bool are labelled but not packed so."""
    rows = source.rows(unlabelled)
    axes = embedding.directions(rows, len(unlabelled), random)
    labelled = []
    if name in NEED_LABELLED:
        parts = (train, np.arange(len(train))), (unlabelled, np.flatnonzero(answered))
        labelled = [embedding.reduced(source.rows(split), chosen, axes) for split, chosen in parts if len(chosen)]
    predictions = None
    if source.name == TRAINED:
        predictions = embedding.summarised(source.probabilities(unlabelled), free, random)
    features = embedding.reduced(rows, free, axes)
    return Pool(features, np.concatenate([features[:0], *labelled]), predictions, source.manifest.classes)


def _lines(about: Mapping[str, Any], manifest: Manifest) -> Iterator[str]:
    """What was done, the balance of the predicted classes, and what to do next: lines for people."""
    counts = about["counts"]
    yield (
        f"{queue.FOLDER}: {counts['chosen']} of {counted(counts['unlabelled'] - counts['answered'], 'example')} "
        f"without a label, chosen by {about['strategy']} ({_FEATURES[about['features']]})"
    )
    if counts.get("held_out"):
        yield f"{counts['held_out']} of them {HELD_OUT}, which need a random sample"
    if counts["near_duplicates_left_out"]:
        yield f"{counted(counts['near_duplicates_left_out'], 'near duplicate')} of chosen examples left out"
    if counts["chosen"] < about["count"]:
        yield f"fewer than --count {about['count']}: all others are near duplicates of chosen examples"
    if balance := about["predicted_classes"]:
        found = sorted(balance.items(), key=lambda pair: -pair[1])
        shown = ", ".join(f"{label} {number}" for label, number in found[:_CLASSES] if number)
        missing = [label for label, number in found if not number]
        none = f"; of {len(missing)} of the {len(manifest.classes)} classes none is predicted" if missing else ""
        yield f"predicted classes: {shown}{', ...' if len(balance) - len(missing) > _CLASSES else ''}{none}"
    if manifest.kind == "table":
        yield "Fill in the class of these rows in the table, and run `dvc repro`."
    else:
        yield "Label them: python -m darkroom.label"


def _answered(manifest: Manifest) -> set[str]:
    """The examples that labels.csv has an answer to, which the arrays may not have yet."""
    path = descriptions.FOLDER / manifest.dataset / answers.FILE
    if not path.exists():
        return set()
    try:
        return set(answers.opinions(answers.parse(path.read_text(encoding="utf-8-sig"))))
    except (ValueError, csv.Error) as error:
        raise DarkroomError(f"{path} is invalid: {error}. Correct it.") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m darkroom.acquire", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=50, metavar="N", help="examples to choose (default: %(default)s)")
    parser.add_argument(
        "--strategy",
        default="auto",
        choices=("auto", *STRATEGIES),
        help=f"auto (default): {COLD} with fewer than {FEW} labels per class or without a trained model, else {WARM}",
    )
    parser.add_argument(
        "--features",
        default="auto",
        choices=("auto", *SOURCES),
        help="auto (default): the first that there is of models/trained, models/pretrained and the examples alone",
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="of random choices (default: that of params.yaml)")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0 to 2^32 - 1")
    return int(text)


if __name__ == "__main__":
    main()
