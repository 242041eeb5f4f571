"""Train the network of params.yaml on the packed arrays, in as many processes as train.processes says.

In: data/arrays, models/pretrained, data/teachers/<name>. Out: models/trained, metrics/curves, metrics/train.json.
"""

import sys

from darkroom.core import arrays, params
from darkroom.core.outputs import write_json
from darkroom.core.params import Seed
from darkroom.core.spelling import counted
from darkroom.core.stage import run
from darkroom.models import checkpoints, hardware
from darkroom.models.config import ModelConfig
from darkroom.train import augmented, curves, distillation, estimate, launch, processes
from darkroom.train.config import TrainConfig
from darkroom.train.resume import Resume
from darkroom.train.setup import build_trainer, describe_training, notices, warnings


def main() -> dict[str, float]:
    number = launch.count(params.load(train=TrainConfig))
    return launch.start(train, number) if number > 1 else train()


def train() -> dict[str, float]:
    """Train in this process, with others if it was started as one of several; return the costs."""
    seed, model, settings = params.load(seed=Seed, model=ModelConfig, train=TrainConfig)
    with processes.join(hardware.choose_device(settings.device)) as group:
        manifest = arrays.read_manifest("data/arrays")
        splits = (arrays.read_split("data/arrays", name) for name in ("train", "val"))
        unlabelled = arrays.read_unlabelled("data/arrays")
        trainer = build_trainer(seed, model, settings, manifest, *splits, group, unlabelled)
        print(f"training {model.name} on {counted(len(trainer.batches.labels), 'example')}: {trainer.hardware()}")
        for notice in notices(settings, trainer):
            print(notice, flush=True)
        description = describe_training(seed, model, trainer)
        resume = Resume(description)
        if resume.restore(trainer):
            done = f"epoch {len(trainer.records)}, step {trainer.step} of the next"
            print(f"resuming an interrupted training after {done}", flush=True)  # it may be killed at any time
        trainer.after_step = estimate.Estimate(estimate.show)
        if group.is_first:
            augmented.write("metrics/curves/augmented.png", trainer.batches)
        for record in trainer.epochs(lambda: resume.save(trainer)):
            print(record, flush=True)
            if group.is_first:
                curves.write("metrics/curves", trainer.records)
            for warning in warnings(record, trainer):
                print(f"warning: {warning}", file=sys.stderr)
        costs = trainer.costs()
        if group.is_first:
            checkpoints.save("models/trained", trainer.whole, description, trainer.files)
            write_json("metrics/train.json", trainer.summary() | distillation.summary(settings.distill))
            resume.remove()  # last: a stage that is interrupted before this line resumes at the end of the training
    return costs


if __name__ == "__main__":
    run("train", main, processes.is_first())
