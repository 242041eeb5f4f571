"""Other libraries that train on a folder of images, for comparison in benchmarks.frameworks.

Each is a program in an environment of its own: nothing of it is imported here. All train a small network from random
weights in fp32, with the settings of the library's documentation or its defaults. The warm-up is shorter: by default it
takes 3 epochs in Ultralytics and 5 in timm's script, longer than some of the trainings. timm's learning rate falls with
every step instead of every epoch.
"""

import csv
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LOOP = Path(__file__).with_name("fastai_loop.py").resolve()


@dataclass(frozen=True)
class Library(ABC):
    """A library that trains on <folder>/train, validates on <folder>/val and predicts the images of <folder>/test."""

    python: Path  # of its environment; absolute, but not resolved, since it is a link in a virtual environment
    checkout: Path  # of timm's repository
    folder: Path
    classes: Sequence[str]  # the names of the class folders, sorted
    name, module, network = "", "", ""

    def version(self) -> list:
        """The command that prints its version."""
        return [self.python, "-c", f"import {self.module}; print({self.module}.__version__)"]

    @abstractmethod
    def train(self, output: Path, epochs: int, seed: int) -> list:
        """The command that writes the weights to the folder `output`."""

    @abstractmethod
    def predict(self, output: Path) -> list:
        """The command that predicts with these weights."""

    @abstractmethod
    def read(self, output: Path) -> dict[str, str]:
        """The predicted class by the stem of the image's file."""


class Ultralytics(Library):
    """Its command yolo. Its network needs sides that are multiples of 32."""

    name, module, network = "Ultralytics", "ultralytics", "yolo11n-cls"

    def train(self, output: Path, epochs: int, seed: int) -> list:
        settings = {"model": f"{self.network}.yaml", "epochs": epochs, "seed": seed, "warmup_epochs": epochs / 10}
        # Plots would need a font that it downloads
        return self._yolo("train", output, data=self.folder, plots=False, **settings)

    def predict(self, output: Path) -> list:
        settings = {"source": f"{self.folder}/test/*/*.png", "batch": 256, "save": False, "save_txt": True}
        return self._yolo("predict", output, model=output / "train/weights/best.pt", **settings)

    def read(self, output: Path) -> dict[str, str]:
        """Of files <stem>.txt, whose first line is the confidence and the name of the likeliest class."""
        files = (output / "predict/labels").glob("*.txt")
        return {path.stem: path.read_text(encoding="utf-8").split("\n")[0].split(" ", 1)[1] for path in files}

    def _yolo(self, mode: str, output: Path, **settings: object) -> list:
        given = {"imgsz": 32, "device": "cpu", "project": output, "name": mode, **settings}
        return [self.python.with_name("yolo"), "classify", mode, *(f"{key}={value}" for key, value in given.items())]


class Timm(Library):
    """The scripts train.py and inference.py of its repository."""

    name, module, network = "timm", "timm", "resnet18"

    def version(self) -> list:
        code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['__version__'])"
        return [self.python, "-c", code, self.checkout / "timm/version.py"]

    def train(self, output: Path, epochs: int, seed: int) -> list:
        settings = {"val-split": "val", "epochs": epochs, "warmup-epochs": 0, "seed": seed}
        files = {"data-dir": self.folder, "output": output, "experiment": "train"}
        return [*self._script("train.py", **files, **settings), "--sched-on-updates"]

    def predict(self, output: Path) -> list:
        files = {"data-dir": self.folder / "test", "checkpoint": output / "train/last.pth.tar"}
        settings = {"topk": 1, "label-type": "none", "results-file": output / "predictions.csv"}
        return [*self._script("inference.py", **files, **settings), "--include-index", "--no-console-results"]

    def read(self, output: Path) -> dict[str, str]:
        with (output / "predictions.csv").open(encoding="utf-8", newline="") as file:
            return {Path(row["filename"]).stem: self.classes[int(row["index"])] for row in csv.DictReader(file)}

    def _script(self, name: str, **settings: object) -> list:
        network = {"model": self.network, "num-classes": len(self.classes), "img-size": 28, "device": "cpu"}
        words = (word for key, value in (network | settings).items() for word in (f"--{key}", value))
        return [self.python, self.checkout / name, *words]


class Fastai(Library):
    """The loop of its tutorial on training from random weights."""

    name, module, network = "fastai", "fastai", "resnet18"

    def train(self, output: Path, epochs: int, seed: int) -> list:
        return self._loop(output, "--epochs", epochs, "--seed", seed)

    def predict(self, output: Path) -> list:
        return self._loop(output, "--predict", output / "predictions.csv")

    def read(self, output: Path) -> dict[str, str]:
        with (output / "predictions.csv").open(encoding="utf-8", newline="") as file:
            return {Path(name).stem: label for name, label in csv.reader(file)}

    def _loop(self, output: Path, *words: object) -> list:
        return [self.python, "-P", _LOOP, self.folder, output / "weights", *words]


LIBRARIES = (Ultralytics, Timm, Fastai)
