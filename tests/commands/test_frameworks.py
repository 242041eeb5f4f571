import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import frameworks
from benchmarks.frameworks import Cost, Peer, Training
from benchmarks.peers.trainers import LIBRARIES, Fastai, Library, Timm, Ultralytics
from darkroom.core.errors import DarkroomError
from tests import packs

CLASSES = ("bag", "coat")


def library(kind: type[Library], folder: Path = Path("images")) -> Library:
    return kind(Path(sys.executable), folder / "timm", folder, CLASSES)


def test_the_folder_holds_the_images_of_each_split_by_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    splits = packs.make_splits(shape=(4, 4, 1))
    packs.write("data/arrays", splits, packs.DESCRIBED | {"classes": ("t-shirt/top", "a")})
    assert frameworks.write_folder(Path("images")) == ["a", "t-shirt-top"]
    files = sorted(Path("images").glob("*/*/*.png"), key=lambda path: path.name)
    inputs = np.concatenate([splits[name].inputs for name in ("train", "val", "test")])
    assert np.array_equal([np.asarray(Image.open(path)) for path in files], inputs[..., 0])
    folders = [str(path.parent.relative_to("images")) for path in files]
    assert folders[:2] + folders[-1:] == ["train/t-shirt-top", "train/a", "test/t-shirt-top"]
    assert Path("images/dataset.yaml").read_text() == "augmentation:\n  flip: true\n  shift: 2\n"


def test_accuracy_needs_a_prediction_for_each_image(tmp_path: Path):
    for path in ("bag/1.png", "bag/2.png", "coat/3.png", "coat/4.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    predicted = {"1": "bag", "2": "coat", "3": "coat", "4": "coat"}
    assert frameworks.accuracy(tmp_path, predicted) == 0.75
    with pytest.raises(DarkroomError, match="3 predictions for 4"):
        frameworks.accuracy(tmp_path, {stem: "bag" for stem in "123"})


@pytest.mark.parametrize(
    ("kind", "file", "contents"),
    [
        (Timm, "predictions.csv", "filename,index,prob\nbag/01.png,1,0.9\ncoat/02.png,0,0.8\n"),
        (Fastai, "predictions.csv", "01.png,coat\n02.png,bag\n"),
    ],
)
def test_predictions_are_read_from_a_table(kind: type[Library], file: str, contents: str, tmp_path: Path):
    (tmp_path / file).write_text(contents)
    assert library(kind).read(tmp_path) == {"01": "coat", "02": "bag"}


def test_predictions_of_ultralytics_are_the_first_lines(tmp_path: Path):
    (tmp_path / "predict/labels").mkdir(parents=True)
    (tmp_path / "predict/labels/01.txt").write_text("0.90 ankle boot\n0.10 bag\n")
    assert library(Ultralytics).read(tmp_path) == {"01": "ankle boot"}


@pytest.mark.parametrize("kind", LIBRARIES)
def test_commands_name_the_folder_the_epochs_and_where_to_write(kind: type[Library]):
    train, predict = library(kind).train(Path("out"), 3, 1), library(kind).predict(Path("out"))
    assert "3" in " ".join(map(str, train)).replace("=", " ").split()
    for command in (train, predict):
        assert "images" in " ".join(map(str, command))
        assert "out" in " ".join(map(str, command))


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_library_that_is_missing_is_skipped_with_one_line(kind: type[Library], capsys: pytest.CaptureFixture):
    missing = kind(Path("nowhere/python"), Path("nowhere"), Path("images"), CLASSES)
    assert frameworks.find(missing) == ""
    assert capsys.readouterr().out.count("\n") == 1


def test_a_version_is_found(tmp_path: Path):
    (tmp_path / "timm/timm").mkdir(parents=True)
    (tmp_path / "timm/timm/version.py").write_text("__version__ = '1.2'\n")
    assert frameworks.find(library(Timm, tmp_path)) == "1.2"


def test_a_command_that_fails_gives_its_output(tmp_path: Path):
    cost = frameworks.timed([sys.executable, "-c", "import os; assert os.environ['A'] == 'b'"], tmp_path, A="b")
    assert min(cost.seconds, cost.cpu_seconds) > 0
    with pytest.raises(DarkroomError, match=r"exit code 3(?s:.)*\nno\n"):
        frameworks.timed([sys.executable, "-c", "print('no'); raise SystemExit(3)"], tmp_path)


class Toy(Peer):
    def __init__(self, name: str, correct: bool):
        self.name, self.correct = name, correct

    def train(self, epochs: int, seed: int) -> tuple[Cost, dict[str, str]]:
        if epochs == 9:
            raise DarkroomError("out of memory")
        return Cost(epochs, 2 * epochs), {"1": "bag" if self.correct else "coat"}


def test_trainings_take_turns_and_a_failed_one_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag/1.png").touch()
    budgets = {Toy("good", True): [1, 2, 3], Toy("bad", False): [1, 9]}
    found = list(frameworks.measure(budgets, 2, tmp_path))
    assert [(one.name, one.epochs, one.accuracy) for one in found] == [
        ("good", 1, 1.0),
        ("bad", 1, 0.0),
        ("good", 2, 1.0),
        ("good", 3, 1.0),
    ] * 2
    assert capsys.readouterr().out.count("bad, 9 epochs: failed: out of memory") == 2
    assert list(frameworks.rows(found))[2:] == [
        ("good", "2", "2 (2 to 2)", "4 (4 to 4)", "100.00 ± 0.00"),
        ("good", "3", "3 (3 to 3)", "6 (6 to 6)", "100.00 ± 0.00"),
    ]


def test_the_plot_has_a_line_per_trainer_and_one_more_with_the_packing():
    trainings = [
        Training("Darkroom, recipe sprint", 1, 2.0, 4.0, 0.9),
        Training("Darkroom, recipe sprint", 1, 4.0, 8.0, 0.8),
        Training("other", 1, 9.0, 9.0, 0.7),
        Training("other", 2, 8.0, 9.0, 0.6),
    ]
    lines = frameworks.draw(trainings, Cost(10, 20), "seconds", "Toy").axes[0].get_lines()
    points = [[tuple(map(round, point)) for point in line.get_xydata().tolist()] for line in lines]
    assert points == [[(3, 85)], [(13, 85)], [(9, 70), (8, 60)]]  # by epochs
