"""Train the network of params.yaml on the packed arrays.

In: data/arrays, models/pretrained. Out: models/trained, metrics/curves, metrics/train.json.
"""

import sys

from darkroom.core import arrays, params
from darkroom.core.outputs import write_json
from darkroom.core.params import Seed
from darkroom.core.spelling import counted
from darkroom.core.stage import run
from darkroom.models import checkpoints
from darkroom.models.config import ModelConfig
from darkroom.train import curves, gradients
from darkroom.train.config import TrainConfig
from darkroom.train.resume import Resume
from darkroom.train.setup import build_trainer, describe_training, notices


def main() -> dict[str, float]:
    seed, model, settings = params.load(seed=Seed, model=ModelConfig, train=TrainConfig)
    manifest = arrays.read_manifest("data/arrays")
    train, val = (arrays.read_split("data/arrays", name) for name in ("train", "val"))
    trainer = build_trainer(seed, model, settings, manifest, train, val)
    print(f"training {model.name} on {counted(len(train), 'example')}: {trainer.hardware()}")
    for notice in notices(settings, trainer):
        print(notice)

    description = describe_training(seed, model, trainer)
    resume = Resume(description)
    if resume.restore(trainer):
        print(f"resuming an interrupted training after epoch {len(trainer.records)}, step {trainer.step} of the next")
    for record in trainer.epochs(lambda: resume.save(trainer)):
        print(record, flush=True)
        curves.write("metrics/curves", trainer.records)
        for warning in gradients.warnings(record.layers):
            print(f"warning: {warning}", file=sys.stderr)
    checkpoints.save("models/trained", trainer.whole, description)
    write_json("metrics/train.json", trainer.summary())
    costs = trainer.costs()
    resume.remove()  # last: a stage that is interrupted before this line resumes at the end of the training
    return costs


if __name__ == "__main__":
    run("train", main)
