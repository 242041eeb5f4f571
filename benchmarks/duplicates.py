"""Are near duplicates found, and nothing else? Copies of real training pictures are altered and put among them.

Needs what `dvc repro preprocess` leaves. A tenth of the pictures of train and validation get a copy each: moved by a pixel
in any of eight directions, compressed as JPEG of quality 60, or 5 % brighter or darker. A pair is right when it is a picture
and its copy; every other pair is counted as wrong, though some of them look the same to a person too.
"""

import argparse
import io
import statistics
import sys
import time

import numpy as np
from PIL import Image

from darkroom.core import arrays, processor
from darkroom.core.errors import DarkroomError
from darkroom.preprocess import duplicates
from darkroom.preprocess.packing import Pack

KINDS = ("moved by a pixel", "JPEG at quality 60", "5 % darker", "5 % brighter")
_MOVES = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]


def altered(image: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """A copy of a picture (H, W, C) uint8, altered in the way that `kind`, one of KINDS, names."""
    match kind:
        case "moved by a pixel":
            down, right = _MOVES[random.integers(len(_MOVES))]
            padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
            return padded[1 - down : 1 - down + image.shape[0], 1 - right : 1 - right + image.shape[1]]
        case "JPEG at quality 60":
            file = io.BytesIO()
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "JPEG", quality=60)
            return np.asarray(Image.open(file)).reshape(image.shape)
        case "5 % darker":
            return (image * 0.95).round().astype(np.uint8)
        case _:
            return np.minimum(image * 1.05, 255).round().astype(np.uint8)


def trial(images: np.ndarray, seed: int, most: float) -> dict[str, float]:
    """Shares of the altered copies found, by kind; of pairs found that are right; seconds of the search."""
    random = np.random.default_rng(seed)
    sources = random.permutation(len(images))[: len(images) // 10 // len(KINDS) * len(KINDS)]
    kinds = np.repeat(KINDS, len(sources) // len(KINDS))
    copies = np.stack([altered(images[source], kind, random) for source, kind in zip(sources, kinds, strict=True)])
    with Pack("data", images.shape[1:]) as pack:
        for _ in pack.keep((images, copies)):
            pass
        start = time.perf_counter()
        pairs = duplicates.find_pairs(pack, np.arange(len(images) + len(copies)), most)
        seconds = time.perf_counter() - start
    found = set(zip(pairs["first"], pairs["second"], strict=True))
    right = np.array([(source, len(images) + number) in found for number, source in enumerate(sources.tolist())])
    return {
        **{kind: right[kinds == kind].mean() for kind in KINDS},
        "all": right.mean(),
        "precision": right.sum() / max(1, len(found)),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.duplicates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=3, help="times that copies are drawn (default: 3)")
    parser.add_argument(
        "--most",
        type=float,
        nargs="+",
        default=[4.0],
        help="grey levels that a pair may differ by; a table each (default: 4)",
    )
    chosen = parser.parse_args()
    try:
        images = np.concatenate([arrays.read_split("data/arrays", name).images for name in ("train", "val")])
    except DarkroomError as error:
        sys.exit(f"benchmarks.duplicates: {error}")
    print(
        f"{len(images):,} pictures, a tenth of them with an altered copy; {chosen.seeds} draws, medians (least to most); {processor.describe()}"
    )
    for most in chosen.most:
        trials = [trial(images, seed, most) for seed in range(1, chosen.seeds + 1)]
        print(f"\nat most {most:g} grey levels")
        for name in trials[0]:
            values, unit = (
                ([trial[name] for trial in trials], ".1f")
                if name == "seconds"
                else ([100 * trial[name] for trial in trials], ".2f")
            )
            print(f"  {name:20} {statistics.median(values):{unit}} ({min(values):{unit}} to {max(values):{unit}})")


if __name__ == "__main__":
    main()
