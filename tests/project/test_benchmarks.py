import importlib
import re
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks import ablation, augmentation, disk, duplicates, growth, models, preprocess, runs, tables
from darkroom import schema
from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.datasets import descriptions, formats, sources
from darkroom.models.registry import build
from tests.repository import ROOT

PROGRAMS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py") if "def main" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_benchmark_has_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 0
    assert f"usage: python -m benchmarks.{name}" in capsys.readouterr().out


def test_every_command_in_the_documentation_is_a_benchmark():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    assert set(re.findall(r"python\s-m\sbenchmarks\.(\w+)", "\n".join(texts))) <= set(PROGRAMS)


@pytest.mark.parametrize("lever", ablation.levers(0.1))
def test_every_lever_is_a_valid_change_of_the_parameters(lever: str):
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key, value in ablation.levers(0.1)[lever].items():
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        assert last in section
        section[last] = value
    schema.check(values)


def test_a_recipe_is_read_by_dotted_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    Path("recipes/quick.yaml").write_text("seed: 3\ntrain:\n  lr: 1e-2\n  augment: {flip: none}\n")
    assert runs.recipe("quick") == {"seed": 3, "train.lr": 0.01, "train.augment.flip": "none"}


def test_changed_parameters_are_checked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    changed = runs.changed({"train.keep_weights": "last", "model.cnn.channels": 8, "seed": 5})
    assert (changed.train.keep_weights, changed.model.cnn.channels, changed.seed) == ("last", 8, 5)
    with pytest.raises(DarkroomError, match=r"train\.weights"):
        runs.changed({"train.weights": "last"})


def test_a_table_has_one_line_per_row():
    assert tables.markdown(("a", "b"), [(1, "x"), (2, "y")]) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 | y |"
    assert tables.median_range([1.0, 4.0, 2.0], 2) == "2.00 (1.00 to 4.00)"


def test_generated_arrays_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(disk, "_HELD_OUT", 10)
    disk.generate(tmp_path, 50, 4)
    manifest = arrays.read_manifest(tmp_path / "data/arrays")
    assert (manifest.counts, manifest.shape) == ({"train": 50, "val": 10, "test": 10}, (4, 4, 3))
    assert arrays.read_split(tmp_path / "data/arrays", "train").inputs.std() > 50


def test_altered_copies_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    images = (
        np.random.default_rng(0).integers(256, size=(160, 4, 4, 1), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    )
    found = duplicates.trial(images, 1, 0.15, flip=True)
    kinds = ("5 % darker", "15 levels brighter", "contrast 0.8", "mirrored", "precision")
    assert [found[kind] for kind in kinds] == [100.0] * 5


def test_augmented_batches_have_the_size_that_the_network_sees(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    settings = runs.changed({"train.augment.mixup": 0.4, "train.augment.min_crop_area": 0.5}).train.augment
    source = augmentation.batches(settings, 4, 2, torch.device("cpu"))
    size = augmentation.SIZE
    assert [len(one.inputs) for one in source.epoch(0, 0, source.steps)] == [2, 2]
    assert next(source.epoch(0, 0, 1)).inputs.shape == (2, 3, size, size)


@pytest.mark.parametrize("name", models.FAMILIES)
def test_the_networks_that_are_compared_need_no_other_parameters(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    family = getattr(runs.changed({"model.name": name}).model, name)
    assert isinstance(build(name, family.model_dump(), (28, 28, 1), 10), torch.nn.Module)


@pytest.mark.parametrize(("text", "test"), [("5000,300,20", 1000), ("5000,300,20,0.9", 4500)])
def test_generated_images_are_a_published_dataset(
    text: str, test: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    descriptions.FOLDER.mkdir(parents=True)
    growth.generate(descriptions.FOLDER / "photos", growth.parse(text))
    dataset = descriptions.load("photos")
    sources.fetch(dataset, "raw")
    splits = formats.decode(dataset, Path("raw"))
    assert [images.shape for images, _ in splits] == [(5000 - test, 20, 20, 1), (test, 20, 20, 1)]
    for _, labels in splits:
        assert np.ptp(np.bincount(labels, minlength=300)) <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is that of Linux")
def test_the_memory_of_a_command_is_its_own(tmp_path: Path):
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > 60e6  # of the tests, with NumPy and pandas
    cost = preprocess.command("this", tmp_path)
    assert 0 < cost.memory < 40 and cost.cpu > 0


def test_a_command_that_fails_ends_the_benchmark(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"no_such_module ended with exit code 1\.$"):
        preprocess.command("no_such_module", tmp_path)
