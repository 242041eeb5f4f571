"""Measure recall and precision of the search for near duplicates, on altered copies of real training images.

Needs the output of `dvc repro preprocess`. A tenth of the training and validation images get a copy each: moved by a
pixel in any of eight directions, compressed as JPEG with quality 60, or 5 % brighter or darker. A pair is correct if it
is an image and its copy. All other pairs count as incorrect, even if the two images look the same.
"""

import io
import sys
import time

import numpy as np
from PIL import Image

from benchmarks.command import parser
from benchmarks.tables import median_range
from darkroom.core import arrays, processor
from darkroom.core.errors import DarkroomError
from darkroom.preprocess import duplicates
from darkroom.preprocess.packing import Pack

KINDS = ("moved by a pixel", "JPEG at quality 60", "5 % darker", "5 % brighter")
_MOVES = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]


def altered(image: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """A copy of an image (H, W, C) uint8, altered as `kind`, one of KINDS, says."""
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


def trial(images: np.ndarray, seed: int, max_difference: float) -> dict[str, float]:
    """Recall by kind of copy, total recall, precision (all in percent), and seconds of the search."""
    random = np.random.default_rng(seed)
    sources = random.permutation(len(images))[: len(images) // 10 // len(KINDS) * len(KINDS)]
    kinds = np.repeat(KINDS, len(sources) // len(KINDS))
    copies = np.stack([altered(images[source], kind, random) for source, kind in zip(sources, kinds, strict=True)])
    with Pack("data", images.shape[1:]) as pack:
        for _ in pack.keep((images, copies)):
            pass
        start = time.perf_counter()
        pairs = duplicates.find_pairs(pack, np.arange(len(images) + len(copies)), max_difference)
        seconds = time.perf_counter() - start
    pairs = set(zip(pairs["first"], pairs["second"], strict=True))
    found = np.array([(source, len(images) + index) in pairs for index, source in enumerate(sources.tolist())])
    return {
        **{kind: 100 * found[kinds == kind].mean() for kind in KINDS},
        "all": 100 * found.mean(),
        "precision": 100 * found.sum() / max(1, len(pairs)),
        "seconds": seconds,
    }


def main() -> None:
    options = parser("duplicates", __doc__)
    options.add_argument("--seeds", type=int, default=3, help="number of draws of copies")
    options.add_argument(
        "--max-difference", type=float, nargs="+", default=[4.0], help="grey levels, as in preprocess.clean.near_leak"
    )
    chosen = options.parse_args()
    try:
        images = np.concatenate([arrays.read_split("data/arrays", name).inputs for name in ("train", "val")])
    except DarkroomError as error:
        sys.exit(f"benchmarks.duplicates: {error}")
    print(
        f"{len(images):,} images, a tenth of them with an altered copy; medians (and ranges) of {chosen.seeds} draws; "
        f"{processor.describe()}"
    )
    for limit in chosen.max_difference:
        trials = [trial(images, seed, limit) for seed in range(1, chosen.seeds + 1)]
        print(f"\nat most {limit:g} grey levels; recall by kind of copy, and precision, in %")
        for name in trials[0]:
            values = [one[name] for one in trials]
            print(f"  {name:20} {median_range(values, 1 if name == 'seconds' else 2)}")


if __name__ == "__main__":
    main()
