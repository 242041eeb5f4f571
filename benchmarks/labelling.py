"""Whether the label page is fast and loses nothing: answers over HTTP, with the program killed in between.

    python -m benchmarks.labelling
    python -m benchmarks.labelling --answers 1000 --kills 5

Answers as many examples as asked, photos of 1280 x 960, and kills the program with SIGKILL as often, each time while
answers arrive. Then compares labels.csv with what was confirmed. The time of an answer is that until the next image has
arrived.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from tqdm import tqdm

from darkroom.core.arrays import SPLITS, Augmentation, Manifest
from darkroom.datasets import answers

ROOT = Path(__file__).parents[1]
DATASET = "photos"
CLASSES = tuple(f"class {number}" for number in range(10))
PHOTOS = 20  # different ones
SHAPE = (32, 32, 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.labelling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=int, default=10_000, metavar="N", help="examples (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="SIGKILLs (default: %(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _make_project(Path(folder), chosen.answers)
        confirmed, seconds, surplus = _answer(Path(folder), chosen.answers, chosen.kills)
        rows = answers.parse((Path(folder) / "data" / "datasets" / DATASET / answers.FILE).read_text(encoding="utf-8"))
    written = [(row.id, row.label) for row in rows]
    lost = len(set(confirmed) - set(written))
    print(
        f"{len(confirmed):,} answers confirmed, {len(written):,} in {answers.FILE}, {lost} lost, {chosen.kills} kills"
    )
    print(f"{surplus} written but killed before they were confirmed; same order: {confirmed == written}")
    low, high = np.percentile(seconds, [50, 99])
    print(f"to the next image: median {1000 * low:.0f} ms, 99 % {1000 * high:.0f} ms, max {1000 * max(seconds):.0f} ms")


def _make_project(folder: Path, count: int) -> None:
    """A data set of `count` unlabelled photos, as packed by the stage preprocess."""
    values = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("dataset: fashion_mnist", f"dataset: {DATASET}")
    (folder / "params.yaml").write_text(values, encoding="utf-8")
    photos, packed = folder / "data" / "datasets" / DATASET / "unlabelled", folder / "data" / "arrays"
    photos.mkdir(parents=True)
    packed.mkdir()
    random_pixels = np.random.default_rng(0)
    for number in range(PHOTOS):
        coarse = Image.fromarray(random_pixels.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        coarse.resize((1280, 960)).save(photos / f"{number:05}.jpg")
    for number in range(PHOTOS, count):
        os.link(photos / f"{number % PHOTOS:05}.jpg", photos / f"{number:05}.jpg")
    ids = {
        **{name: [f"{name}/{number}.jpg" for number in range(len(CLASSES))] for name in SPLITS},
        "unlabelled": [f"unlabelled/{number:05}.jpg" for number in range(count)],
    }
    for name, examples in ids.items():
        np.save(packed / f"{name}.inputs.npy", np.zeros((len(examples), *SHAPE), np.uint8))
        (packed / f"{name}.ids.json").write_text(json.dumps(examples))
        if name in SPLITS:
            np.save(packed / f"{name}.labels.npy", np.arange(len(examples)))
    counts = {name: len(examples) for name, examples in ids.items()}
    scale = (0.5,) * SHAPE[-1]
    known = DATASET, DATASET, "none", CLASSES, SHAPE, scale, scale, counts, Augmentation(False, 0)
    digests = {name: "0" * 64 for name in ("sha256", "test_sha256", "test_examples_sha256")}
    manifest = Manifest(*known, **digests, resize="stretch", interpolation="bilinear", crop_fraction=1.0)
    (packed / "manifest.json").write_text(json.dumps(asdict(manifest)))


def _answer(folder: Path, count: int, kills: int) -> tuple[list[tuple[str, str]], list[float], int]:
    """Answer all examples; return the confirmed answers, seconds for each, and how many were written unconfirmed."""
    generator = random.Random(0)
    confirmed: list[tuple[str, str]] = []
    seconds: list[float] = []
    surplus = 0
    ends = [*sorted(generator.sample(range(1, count), kills)), count]
    with tqdm(total=count, unit="answer", leave=False, disable=None) as bar:
        for end in ends:
            with _running(folder) as (url, process), httpx.Client(base_url=url, timeout=60) as client:
                state = client.get("/v1/session").json()
                if state["done"] == len(confirmed) + 1:
                    confirmed.append((state["last"]["id"], state["last"]["label"]))
                    surplus += 1
                try:
                    while state["example"]:
                        if len(confirmed) >= end:  # a moment later, within any part of an answer
                            threading.Timer(generator.random() * 0.05, process.kill).start()
                            end = count + 1
                        started, label = time.perf_counter(), generator.choice(CLASSES)
                        response = client.post("/v1/answer", json={"turn": state["turn"], "label": label})
                        state = response.raise_for_status().json()
                        confirmed.append((state["last"]["id"], label))
                        if state["example"]:
                            client.get(f"/v1/input/{state['example']['key']}").raise_for_status()
                        seconds.append(time.perf_counter() - started)
                        bar.update()
                except httpx.TransportError:
                    pass
    return confirmed, seconds, surplus


@contextmanager
def _running(folder: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    command = [sys.executable, "-m", "darkroom.label", "--port", "0", "--by", "anna"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield next(line for line in process.stderr if line.startswith("http")).split()[0], process
        finally:
            process.kill()


if __name__ == "__main__":
    main()
