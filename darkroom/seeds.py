"""The luck of the seed: trainings that differ in nothing else.

`train` trains on the packed arrays as the pipeline does, with a seed of its own for weights, order and augmentation, and
leaves metrics/seeds/<seed>.json; `summary` leaves mean and deviation of several in metrics/seeds.json. seeds/dvc.yaml runs
both, seeds/seeds.yaml names the seeds.
"""

import argparse
import statistics
import sys
from pathlib import Path

import torch

from darkroom import arrays, hardware, memory, metrics, models, params
from darkroom.errors import DarkroomError
from darkroom.inference import predict
from darkroom.models import weights
from darkroom.outputs import read_json, write_json
from darkroom.randomness import derive_seed
from darkroom.training import Trainer

FOLDER, SEEDS = Path("metrics/seeds"), Path("seeds/seeds.yaml")


def train(seed: int) -> dict[str, float]:
    """Trains by the parameters of params.yaml but with this seed; returns validation and test accuracy and the test loss."""
    settings = params.check(params.read(params.PATH))
    memory.keep_freed()
    hardware.use_threads(settings.train.threads)
    device = hardware.choose_device(settings.train.device)
    precision = hardware.choose_precision(settings.train.precision, device)
    manifest = arrays.read_manifest("data/arrays")
    train, val, test = (arrays.read_split("data/arrays", name) for name in ("train", "val", "test"))
    torch.manual_seed(derive_seed(seed, "weights"))
    network = models.build(settings.model.name, settings.model.arguments(), manifest.shape, len(manifest.classes))
    if settings.model.weights:
        weights.start_from(settings.model.weights, network)
    trainer = Trainer(network, train, val, manifest, settings.train, seed, device, precision, fresh=not settings.model.weights)
    for record in trainer.epochs():
        print(f"seed {seed}, {record}", flush=True)
    found = metrics.summary(predict(network, test.images, manifest.mean, manifest.std), test.labels, settings.evaluate.top_k)
    return {"val_accuracy": trainer.summary()["val_accuracy"], "accuracy": found["accuracy"], "loss": found["loss"]}


def summary() -> dict[str, float]:
    """Mean, standard deviation (of a sample) and number of the test accuracies of the trainings with the seeds that SEEDS names."""
    seeds = params.read(SEEDS)["seeds"]
    accuracies = [read_json(FOLDER / f"{seed}.json")["accuracy"] for seed in seeds]
    return {"mean": statistics.mean(accuracies), "std": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0, "n": len(accuracies)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m darkroom.seeds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("train", help="train with a seed").add_argument("seed", type=int)
    commands.add_parser("summary", help="sum up what was trained")
    chosen = parser.parse_args()
    try:
        path = FOLDER / f"{chosen.seed}.json" if chosen.command == "train" else Path(f"{FOLDER}.json")
        found = train(chosen.seed) if chosen.command == "train" else summary()
        write_json(path, found)
    except DarkroomError as error:
        sys.exit(f"seeds: {error}")
    print(f"{path}: {', '.join(f'{name} {value:.6g}' for name, value in found.items())}")


if __name__ == "__main__":
    main()
