"""Fine-tune the same weights on the same photos with timm's own train.py, and compare accuracy and time.

Needs a checkout of timm (huggingface/pytorch-image-models, Apache-2.0), and the outputs of `dvc repro train` with the
recipe finetune on a folder of photos: data/arrays for us, models/pretrained and the photos themselves for timm. Both
train all layers for the same epochs with AdamW, a cosine schedule without warm-up (timm warms up by whole epochs), the
same batch size, learning rate, label smoothing, random resized crops and precision; both measure the validation split
after each epoch, and are tested with their last weights. Runs take turns. The time is that of the whole command; ours
also with the stage preprocess, which decodes the photos once for all trainings to come.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.command import parser
from benchmarks.runs import ARRAYS, run
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, processor
from darkroom.core.arrays import Manifest
from darkroom.core.outputs import read_json
from darkroom.models import hardware
from darkroom.weights import pretrained

SPLITS = {"train": "train", "val": "validation", "test": "test"}  # our splits and timm's folders
WEIGHT_DECAY, LABEL_SMOOTHING, CROP_AREA, CROP_ASPECT = 0.01, 0.1, 0.5, 4 / 3


def main() -> None:
    options = parser("fine_tuning", __doc__)
    options.add_argument("--timm", type=Path, required=True, help="folder of the checkout, which holds train.py")
    options.add_argument("--seeds", type=int, default=1, help="trainings of each")
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--batch-size", type=int, default=32)
    options.add_argument("--lr", type=float, default=0.001, help="peak learning rate")
    options.add_argument("--workers", type=int, default=processor.cores(), help="DataLoader processes of timm")
    chosen = options.parse_args()
    manifest, weights = arrays.read_manifest(ARRAYS), pretrained.read(pretrained.FOLDER)
    if weights is None or weights.family != "timm":
        sys.exit("models/pretrained holds no weights of timm: run `python -m darkroom.recipe finetune && dvc repro`.")
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        link_photos(Path(folder), manifest)
        for seed in range(chosen.seeds):
            theirs.append(train_with_timm(chosen, Path(folder), seed, weights.architecture, manifest))
            ours.append(train(chosen, seed))
            pair = (f"{accuracy:.2%} in {seconds:.0f} s" for accuracy, seconds in (theirs[-1], ours[-1]))
            print(f"seed {seed}: timm {', Darkroom '.join(pair)}", flush=True)

    packing = read_json("metrics/cost/preprocess.json")["seconds"]
    print(
        f"\n{manifest.title}, {weights.title}; {processor.describe()}; medians (and ranges) of {chosen.seeds} seeds\n"
    )
    rows = [
        (name, mean_accuracy(runs), median_range([seconds + extra for _, seconds in runs], 0))
        for name, runs, extra in (
            ("timm's train.py", theirs, 0.0),
            ("Darkroom, arrays packed before", ours, 0.0),
            ("Darkroom, with the stage preprocess", ours, packing),
        )
    ]
    print(markdown(("", "test accuracy, %", "seconds"), rows))
    for title, extra in (("arrays packed before", 0.0), ("with the stage preprocess", packing)):
        ratios = [(mine[1] + extra) / other[1] for mine, other in zip(ours, theirs, strict=True)]
        print(f"Darkroom takes {median_range(ratios, 2)} of timm's time ({title}).")


def mean_accuracy(runs: list[tuple[float, float]]) -> str:
    """Mean, and the standard deviation of several, in percent."""
    accuracies = [100 * accuracy for accuracy, _ in runs]
    deviation = f" ± {statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    return f"{statistics.mean(accuracies):.2f}{deviation}"


def link_photos(folder: Path, manifest: Manifest) -> None:
    """Links to the photos in <split>/<class>/, as timm reads them; the splits are ours."""
    for split, name in SPLITS.items():
        found = arrays.read_split(ARRAYS, split)
        for label in manifest.classes:
            (folder / name / label).mkdir(parents=True)
        for identifier, label in zip(found.ids.tolist(), found.labels.tolist(), strict=True):
            photo = Path("data/datasets", manifest.dataset, identifier).resolve()
            if not photo.is_file():
                sys.exit(f"{photo} is missing: this benchmark needs a data set that is a folder of photos.")
            (folder / name / manifest.classes[label] / identifier.replace("/", "_")).symlink_to(photo)


def train(chosen: argparse.Namespace, seed: int) -> tuple[float, float]:
    """Test accuracy and seconds of our training, in a process of its own."""
    started = time.perf_counter()
    settings = {
        "tune": "all",
        "epochs": chosen.epochs,
        "batch_size": chosen.batch_size,
        "optimizer": "adamw",
        "lr": chosen.lr,
        "weight_decay": WEIGHT_DECAY,
        "schedule": "cosine",
        "warmup_fraction": 0.0,
        "label_smoothing": LABEL_SMOOTHING,
        "keep_weights": "last",
        "augment.flip": "none",
        "augment.min_crop_area": CROP_AREA,
        "augment.max_crop_aspect": CROP_ASPECT,
    }
    measured = run("ours", seed=seed, **{f"train.{key}": value for key, value in settings.items()})
    return measured["accuracy"], time.perf_counter() - started


def train_with_timm(
    chosen: argparse.Namespace, photos: Path, seed: int, architecture: str, manifest: Manifest
) -> tuple[float, float]:
    """Test accuracy and seconds of timm's training script."""
    weights = pretrained.read(pretrained.FOLDER)
    precision = hardware.choose_precision("auto", hardware.choose_device("auto"))
    with tempfile.TemporaryDirectory() as output:
        options = {
            "data-dir": photos,
            "model": architecture,
            "pretrained-path": Path(pretrained.FOLDER, "pretrained.safetensors").resolve(),
            "num-classes": len(manifest.classes),
            "img-size": manifest.shape[0],
            "mean": weights.mean,
            "std": weights.std,
            "device": hardware.choose_device("auto").type,
            "opt": "adamw",
            "lr": chosen.lr,
            "weight-decay": WEIGHT_DECAY,
            "sched": "cosine",
            "epochs": chosen.epochs,
            "warmup-epochs": 0,
            "smoothing": LABEL_SMOOTHING,
            "batch-size": chosen.batch_size,
            "scale": (CROP_AREA, 1.0),
            "ratio": (1 / CROP_ASPECT, CROP_ASPECT),
            "hflip": 0.0,
            "color-jitter": 0.0,
            "workers": chosen.workers,
            "seed": seed,
            "output": output,
            "experiment": "run",
            "checkpoint-hist": 1,
        }
        flags = ["--pretrained", "--sched-on-updates", "--channels-last"]
        if precision != "fp32":
            flags += ["--amp", "--amp-dtype", {"bf16": "bfloat16", "fp16": "float16"}[precision]]
        command = [sys.executable, "train.py", *flags]
        for key, value in options.items():
            command += [f"--{key}", *map(str, value if isinstance(value, tuple) else (value,))]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=chosen.timm, capture_output=True, text=True, check=False, env=os.environ)
        seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(f"timm's train.py ended with exit code {done.returncode}:\n{done.stderr[-3000:]}")
        return accuracy_of(Path(output, "run", "last.pth.tar"), architecture, manifest), seconds


def accuracy_of(checkpoint: Path, architecture: str, manifest: Manifest) -> float:
    """Test accuracy of the network in timm's checkpoint, on the same arrays as ours."""
    import torch

    from darkroom.models.inference import predict
    from darkroom.models.registry import build

    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    network = build("timm", {"architecture": architecture}, manifest.shape, len(manifest.classes))
    network.load_state_dict(state)
    weights, test = pretrained.read(pretrained.FOLDER), arrays.read_split(ARRAYS, "test")
    return float((predict(network, test.inputs, weights.mean, weights.std).argmax(1) == test.labels).mean())


if __name__ == "__main__":
    main()
