"""Trains the network of params.yaml on the packed arrays; leaves its weights, its learning curves and a summary.

In: data/arrays. Out: models/trained, metrics/curves, metrics/train.json.
"""

import sys

import torch

from darkroom import arrays, checkpoints, curves, gradients, hardware, memory, models, params
from darkroom.models import weights
from darkroom.outputs import write_json
from darkroom.randomness import derive_seed
from darkroom.resume import Resume
from darkroom.stage import run
from darkroom.training import Trainer


def main() -> dict[str, float]:
    seed, model, settings = params.load("seed", "model", "train")
    memory.keep_freed()
    hardware.use_threads(settings.threads)
    device = hardware.choose_device(settings.device)
    precision = hardware.choose_precision(settings.precision, device)

    manifest = arrays.read_manifest("data/arrays")
    train, val = (arrays.read_split("data/arrays", name) for name in ("train", "val"))
    arguments = model.arguments()
    torch.manual_seed(derive_seed(seed, "weights"))
    network = models.build(model.name, arguments, manifest.shape, len(manifest.classes))
    if model.weights:
        weights.start_from(model.weights, network)
    trainer = Trainer(network, train, val, manifest, settings, seed, device, precision, fresh=not model.weights)
    print(f"training {model.name} on {len(train)} pictures: {hardware.describe(device)}, {precision}")

    chosen = {"seed": seed, "weights": weights.digest(model.weights), "train": settings.model_dump(), "device": device.type, "precision": precision}
    resume = Resume({**chosen, "processor": hardware.describe(device), "model": model.name, "arguments": arguments, "data": manifest.sha256})
    if resume.restore(trainer):
        print(f"going on after {len(trainer.records)} epochs and {trainer.step} steps, where an earlier run was stopped")
    for record in trainer.epochs(lambda: resume.save(trainer)):
        print(record, flush=True)
        for sentence in gradients.advice(record.layers):
            print(f"warning: {sentence}", file=sys.stderr)
    checkpoints.save("models/trained", network, checkpoints.describe(model.name, arguments, manifest, chosen))
    curves.write("metrics/curves", trainer.records)
    write_json("metrics/train.json", trainer.summary())
    costs = trainer.costs()
    resume.remove()  # last: whatever stops the stage before this line, the next run goes on from the end of the training
    return costs


if __name__ == "__main__":
    run("train", main)
