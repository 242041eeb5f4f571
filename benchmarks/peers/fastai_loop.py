"""Train with the loop of fastai's tutorial "Training a model on Imagenette", with its smallest ResNet.

benchmarks.frameworks runs this file in an environment that has fastai, and not Darkroom.
"""

import argparse
import csv
from pathlib import Path

from fastai.vision.all import ImageDataLoaders, Learner, accuracy, get_image_files, resnet18, set_seed, vision_learner


def learner(folder: Path) -> Learner:
    """A network with random weights, and the images of the folder as they are, in batches of 64."""
    return vision_learner(
        ImageDataLoaders.from_folder(folder, valid="val"), resnet18, pretrained=False, metrics=accuracy
    )


def train(folder: Path, weights: Path, epochs: int, seed: int) -> None:
    """Train on the folder; write the weights to a file."""
    set_seed(seed)
    trained = learner(folder)
    trained.fit_one_cycle(epochs, 5e-3)
    trained.save(weights, with_opt=False)


def predict(folder: Path, weights: Path, output: Path) -> None:
    """Write the class of each test image to a CSV file: file, label."""
    trained = learner(folder).load(weights, with_opt=False)
    files = get_image_files(folder / "test")
    scores, _ = trained.get_preds(dl=trained.dls.test_dl(files))
    with output.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            (path.name, trained.dls.vocab[label]) for path, label in zip(files, scores.argmax(1).tolist(), strict=True)
        )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("weights", type=Path, help="a file without ending")
    options.add_argument("--epochs", type=int, default=1)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--predict", type=Path, help="write predictions to this file, instead of training")
    chosen = options.parse_args()
    if chosen.predict:
        predict(chosen.folder, chosen.weights, chosen.predict)
    else:
        train(chosen.folder, chosen.weights, chosen.epochs, chosen.seed)
