"""Measure recall and precision of the search for near duplicates, on altered copies of real images.

Needs the output of `dvc repro preprocess`, or a folder of photos. A tenth of the images get a copy each, altered in one
of the ways below. A pair is correct if it is an image and its copy. All other pairs count as incorrect, even if the two
images look the same.
"""

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.command import parser
from benchmarks.tables import median_range
from darkroom.core import arrays, processor
from darkroom.core.errors import DarkroomError
from darkroom.preprocess import duplicates
from darkroom.preprocess.packing import Pack

_MOVES = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
_SIDE = 64  # of photos


def moved(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    down, right = _MOVES[random.integers(len(_MOVES))]
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return padded[1 - down : 1 - down + image.shape[0], 1 - right : 1 - right + image.shape[1]]


def compressed(quality: int) -> Callable:
    def alter(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
        file = io.BytesIO()
        _to_pil(image).save(file, "JPEG", quality=quality)
        return _to_array(Image.open(file), image)

    return alter


def levels(gain: float, offset: float) -> Callable:
    return lambda image, _: np.clip(np.round(gain * image.astype(np.float64) + offset), 0, 255).astype(np.uint8)


def halved(kind: Image.Resampling) -> Callable:
    def alter(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        small = _to_pil(image).resize((max(1, width // 2), max(1, height // 2)), kind)
        return _to_array(small.resize((width, height), kind), image)

    return alter


def zoomed(part: float) -> Callable:
    """The centre, this part of a side, enlarged; for more than 1, the image is shrunk onto a black ground."""

    def alter(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        matrix = (part, 0, width / 2 * (1 - part), 0, part, height / 2 * (1 - part))
        pil = _to_pil(image)
        return _to_array(pil.transform(pil.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR), image)

    return alter


def rotated(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return _to_array(_to_pil(image).rotate(random.choice([-5, 5]), Image.Resampling.BILINEAR), image)


KINDS: dict[str, Callable] = {
    "moved by a pixel": moved,
    "JPEG at quality 60": compressed(60),
    "JPEG at quality 30": compressed(30),
    "5 % darker": levels(0.95, 0),
    "15 levels brighter": levels(1, 15),
    "15 levels darker": levels(1, -15),
    "contrast 0.8": levels(0.8, 0.2 * 128),
    "contrast 1.2": levels(1.2, -0.2 * 128),
    "halved, bilinear": halved(Image.Resampling.BILINEAR),
    "halved, bicubic": halved(Image.Resampling.BICUBIC),
    "halved, averaged": halved(Image.Resampling.BOX),
    "enlarged by 5 %": zoomed(0.95),
    "shrunk by 5 %": zoomed(1 / 0.95),
    "mirrored": lambda image, _: image[:, ::-1],
    "rotated by 5 degrees": rotated,
}


def trial(images: np.ndarray, seed: int, max_difference: float, flip: bool) -> dict[str, float]:
    """Recall by kind of copy, precision (all in percent), pairs without a copy, and seconds of the search."""
    random = np.random.default_rng(seed)
    names = [name for name in KINDS if flip or name != "mirrored"]
    sources = random.permutation(len(images))[: max(1, len(images) // 10 // len(names)) * len(names)]
    kinds = np.repeat(names, len(sources) // len(names))
    copies = np.stack([KINDS[kind](images[source], random) for source, kind in zip(sources, kinds, strict=True)])
    with Pack("data", images.shape[1:]) as pack:
        for _ in pack.keep((images, copies)):
            pass
        start = time.perf_counter()
        pairs = duplicates.find_pairs(pack, np.arange(len(images) + len(copies)), max_difference, flip)
        seconds = time.perf_counter() - start
    found = set(zip(pairs["first"], pairs["second"], strict=True))
    correct = np.array([(source, len(images) + index) in found for index, source in enumerate(sources.tolist())])
    return {
        **{kind: 100 * correct[kinds == kind].mean() for kind in names},
        "precision": 100 * correct.sum() / max(1, len(pairs)),
        "other pairs": len(pairs) - correct.sum(),
        "seconds": seconds,
    }


def photos(folder: Path) -> np.ndarray:
    """The images in a folder and its subfolders, stretched to 64 x 64: (N, 64, 64, 3) uint8."""
    images = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)))
    return np.stack(images)


def _to_pil(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _to_array(image: Image.Image, like: np.ndarray) -> np.ndarray:
    return np.asarray(image).reshape(like.shape)


def main() -> None:
    options = parser("duplicates", __doc__)
    options.add_argument("--seeds", type=int, default=3, help="number of draws of copies")
    options.add_argument(
        "--max-difference", type=float, nargs="+", default=[0.15], help="as preprocess.clean.near_leak_difference"
    )
    options.add_argument("--photos", type=Path, help="a folder of photos, instead of data/arrays")
    chosen = options.parse_args()
    try:
        if chosen.photos:
            images, flip = photos(chosen.photos), True
        else:
            images = np.concatenate([arrays.read_split("data/arrays", name).inputs for name in ("train", "val")])
            flip = arrays.read_manifest("data/arrays").augmentation.flip
    except DarkroomError as error:
        sys.exit(f"benchmarks.duplicates: {error}")
    print(
        f"{len(images):,} images, a tenth of them with an altered copy; medians (and ranges) of {chosen.seeds} draws; "
        f"{processor.describe()}"
    )
    for limit in chosen.max_difference:
        trials = [trial(images, seed, limit, flip) for seed in range(1, chosen.seeds + 1)]
        print(f"\na difference of at most {limit:g}; recall by kind of copy, and precision, in %")
        for name in trials[0]:
            values = [one[name] for one in trials]
            print(f"  {name:20} {median_range(values, 1 if name == 'seconds' else 2)}")


if __name__ == "__main__":
    main()
