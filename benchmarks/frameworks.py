"""Compare Darkroom with Ultralytics, timm and fastai, which train on a folder of images: test accuracy against time.

The images of data/arrays become PNG files in train/<class>/, val/<class>/ and test/<class>/. Each library trains on
them from random weights, as benchmarks/peers/trainers.py says, with each of --epochs. All take turns, each training in
its own process, with one thread per core. Time is that of the whole command, from the start of the process to its end:
imports, reading, training, validation and weights. CPU seconds are those of all threads and processes of the command.
The test images are predicted by a second command, which is not timed. Darkroom trains on packed arrays: the time of
its stages fetch and preprocess, which pack the folder once for all trainings, is measured too.

The libraries need an environment of their own, and timm's script a checkout of its repository
(huggingface/pytorch-image-models). A library that is missing is skipped. Ultralytics is under the AGPL, the others
under Apache-2.0; none is a requirement of Darkroom.

    python3 -m venv ../peers
    ../peers/bin/pip install torch==2.14.1 torchvision==0.29.1 ultralytics==8.4.190 timm==1.0.31 fastai==2.8.12
    python -m benchmarks.frameworks

Prints tables and writes docs/frameworks.png. Needs the output of `dvc repro preprocess`. Linux only.
"""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from tqdm import tqdm

from benchmarks.command import parser
from benchmarks.fine_tuning import mean_accuracy
from benchmarks.models import COLOURS, MARKERS
from benchmarks.peers.trainers import LIBRARIES, Library
from benchmarks.runs import ARRAYS, merged, recipe
from benchmarks.tables import markdown, median_range
from darkroom.core import arrays, params, processor
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import TEMPORARY, new_file
from darkroom.figures import drawing
from darkroom.figures.images import to_pil
from darkroom.models import checkpoints
from darkroom.models.inference import predict

EPOCHS = {"sprint": (0.6, 1.2, 2.4), "default": (2, 4, 7)}  # by recipe: 1.2 and 7 are the recipes' own
AXES = {"seconds": "seconds", "cpu_seconds": "CPU seconds"}
_IMAGES = Path("data/datasets/images")


@dataclass(frozen=True)
class Cost:
    """Time of a command, with that of the processes that it started."""

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Training:
    """A training, and its accuracy on the test images, 0..1."""

    name: str
    epochs: float
    seconds: float
    cpu_seconds: float
    accuracy: float


class Darkroom:
    """The stages of Darkroom, in a temporary project whose dataset is a folder of images."""

    def __init__(self, project: Path, name: str):
        self.project, self.name, self.settings = project, f"Darkroom, recipe {name}", recipe(name)

    def pack(self) -> Cost:
        """Cost of the stages that turn the folder into arrays."""
        self._configure({})
        costs = [self._stage(name) for name in ("fetch", "preprocess")]
        self._stage("pretrained")  # there are none
        return Cost(sum(cost.seconds for cost in costs), sum(cost.cpu_seconds for cost in costs))

    def train(self, epochs: float, seed: int) -> tuple[Cost, dict[str, str]]:
        """Cost of the stage train, and the predicted class by the stem of the test image's file."""
        self._configure({"train.epochs": epochs, "seed": seed})
        cost = self._stage("train")
        network, model = checkpoints.load(self.project / "models/trained")
        test = arrays.read_split(self.project / ARRAYS, "test")
        labels = predict(network, test.inputs, model.mean, model.std).argmax(1)
        return cost, {Path(path).stem: model.classes[label] for path, label in zip(test.ids, labels, strict=True)}

    def _configure(self, changes: Mapping[str, object]) -> None:
        values = merged(self.settings | {"data.dataset": _IMAGES.name} | changes)
        (self.project / params.PATH).write_text(yaml.safe_dump(values), encoding="utf-8")

    def _stage(self, name: str) -> Cost:
        command = [sys.executable, "-m", f"stages.{name}"]
        return timed(command, self.project, PYTHONPATH=str(Path(__file__).parents[1]))


class Peer:
    """Another library, with its version."""

    def __init__(self, library: Library, version: str):
        self.library, self.name = library, f"{library.name} {version}, {library.network}"

    def train(self, epochs: int, seed: int) -> tuple[Cost, dict[str, str]]:
        """Cost of its training, and the predicted class by the stem of the test image's file."""
        with tempfile.TemporaryDirectory() as name:
            output = Path(name)
            cost = timed(self.library.train(output, epochs, seed), output, **_offline(output))
            timed(self.library.predict(output), output, **_offline(output))
            return cost, self.library.read(output)


def main() -> None:
    options = parser("frameworks", __doc__)
    options.add_argument(
        "--python", type=Path, default="../peers/bin/python", help="of the environment of the libraries"
    )
    options.add_argument("--timm", type=Path, default="../pytorch-image-models", help="timm's checkout")
    options.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 4], help="of each library but Darkroom")
    options.add_argument("--turns", type=int, default=1, help="trainings of each, with other seeds")
    options.add_argument("--axis", choices=AXES, default="seconds", help="of the plot; on a busy machine: cpu_seconds")
    chosen = options.parse_args()
    title = f"{arrays.read_manifest(ARRAYS).title} on {processor.describe()}"
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=".") as name:
        project = Path(name).resolve()
        classes = write_folder(project / _IMAGES)
        libraries = [
            kind(chosen.python.absolute(), chosen.timm.absolute(), project / _IMAGES, classes) for kind in LIBRARIES
        ]
        peers = [Peer(library, version) for library in libraries if (version := find(library))]
        for needed in ("data/pretrained", "data/teachers"):
            (project / needed).symlink_to(Path(needed).resolve())
        packing = Darkroom(project, "default").pack()
        print(f"fetch and preprocess: {packing.seconds:.1f} s, {packing.cpu_seconds:.1f} CPU seconds", flush=True)
        budgets = {Darkroom(project, name): epochs for name, epochs in EPOCHS.items()}
        budgets |= dict.fromkeys(peers, chosen.epochs)
        trainings = list(measure(budgets, chosen.turns, project / _IMAGES / "test"))

    print(f"\n{title}; {chosen.turns} trainings of each; means, ± standard deviations of several\n")
    print(markdown(("training", "epochs", *AXES.values(), "test accuracy, %"), rows(trainings)))
    with new_file("docs/frameworks.png") as path:
        drawing.save(draw(trainings, packing, chosen.axis, title), path)


def write_folder(folder: Path) -> list[str]:
    """Write data/arrays as PNG files <split>/<class>/<number>.png, with a dataset.yaml for Darkroom.

    Returns the names of the class folders, sorted.
    """
    manifest, number = arrays.read_manifest(ARRAYS), 0
    names = [name.replace("/", "-") for name in manifest.classes]
    for name in arrays.SPLITS:
        split = arrays.read_split(ARRAYS, name)
        for label in names:
            (folder / name / label).mkdir(parents=True)
        examples = zip(split.inputs, split.labels, strict=True)
        for image, label in tqdm(examples, f"write {name}", len(split), unit="image", leave=False, disable=None):
            to_pil(image).save(folder / name / names[label] / f"{number:06}.png")
            number += 1
    description = {"augmentation": asdict(manifest.augmentation)}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
    return sorted(names)


def find(library: Library) -> str:
    """Version of the library; if it cannot be used, an empty string, and a line says why."""
    try:
        with tempfile.TemporaryDirectory() as name:
            environment = {**os.environ, **_offline(Path(name))}
            done = subprocess.run(library.version(), env=environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]  # Ultralytics says first that it wrote its settings
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "").strip() or str(error)
        print(f"{library.name} is skipped: {reason.splitlines()[-1]} ({library.python})")
    return ""


def _offline(folder: Path) -> dict[str, str]:
    """Environment variables: no network, no GPU, and settings in `folder` instead of the user's."""
    settings = {"YOLO_OFFLINE": "true", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {"YOLO_CONFIG_DIR": str(folder), **settings}


def timed(command: Sequence[object], folder: Path, **environment: str) -> Cost:
    """Run a command with one thread per core; raise DarkroomError with the end of its output if it fails."""
    variables = {**os.environ, "OMP_NUM_THREADS": str(processor.cores()), **environment}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        started = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), cwd=folder, env=variables, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)  # subprocess does not give the usage of one process
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise DarkroomError(f"exit code {process.returncode} of {command}:\n{log.read()[-3000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime)


def measure(budgets: Mapping[Darkroom | Peer, Sequence[float]], turns: int, folder: Path) -> Iterator[Training]:
    """The trainings, in turns, with their accuracy on the images in `folder`; one that fails is left out."""
    for turn, index in itertools.product(range(turns), range(max(map(len, budgets.values())))):
        for trainer, epochs in [(trainer, some[index]) for trainer, some in budgets.items() if index < len(some)]:
            print(f"{trainer.name}, {epochs:g} epochs: ", end="", flush=True)
            try:
                cost, predicted = trainer.train(epochs, turn)
                done = Training(trainer.name, epochs, cost.seconds, cost.cpu_seconds, accuracy(folder, predicted))
            except DarkroomError as error:
                print(f"failed: {error}")
                continue
            print(f"{done.accuracy:.2%}, {done.seconds:.1f} s, {done.cpu_seconds:.1f} CPU seconds", flush=True)
            yield done


def accuracy(folder: Path, predicted: Mapping[str, str]) -> float:
    """Fraction of correct predictions, 0..1, by the stem of each file <class>/<number>.png in `folder`."""
    labels = {path.stem: path.parent.name for path in folder.glob("*/*.png")}
    if labels.keys() != predicted.keys():
        raise DarkroomError(f"{len(predicted)} predictions for {len(labels)} test images.")
    return statistics.mean(predicted[stem] == label for stem, label in labels.items())


def rows(trainings: Sequence[Training]) -> Iterator[tuple[object, ...]]:
    """Rows of the table, one for each name and number of epochs."""
    for (name, epochs), some in pd.DataFrame(trainings).groupby(["name", "epochs"], sort=False):
        times = (median_range(some[axis].tolist(), 0) if len(some) > 1 else f"{some[axis].item():.0f}" for axis in AXES)
        yield name, f"{epochs:g}", *times, mean_accuracy(some[["accuracy", "seconds"]].to_numpy().tolist())


def draw(trainings: Sequence[Training], packing: Cost, axis: str, title: str) -> Figure:
    """Mean accuracy against mean time; dotted lines are those of Darkroom with the time of packing the folder."""
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    label = f"{AXES[axis]} (logarithmic; dotted: with fetch and preprocess)"
    axes = figure.add_subplot(title=title, xlabel=label, ylabel="test accuracy (%)", xscale="log")
    means = pd.DataFrame(trainings).groupby(["name", "epochs"]).mean()
    for number, name in enumerate(dict.fromkeys(training.name for training in trainings)):
        times, accuracies = means.loc[name][axis], 100 * means.loc[name]["accuracy"]
        style = {"marker": MARKERS[number], "color": COLOURS[number]}
        axes.plot(times, accuracies, label=name, **style)
        if name.startswith("Darkroom"):
            packed = times + getattr(packing, axis)
            axes.plot(packed, accuracies, linestyle=":", fillstyle="none", **style)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


if __name__ == "__main__":
    main()
