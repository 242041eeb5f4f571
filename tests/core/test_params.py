import re
from pathlib import Path

import pytest
import yaml

from darkroom import schema
from darkroom.core import params
from darkroom.core.errors import DarkroomError

TEXT = (Path(__file__).parents[2] / "params.yaml").read_text()


def changed(key: str, value: object) -> dict:
    """The project's parameters with the dotted `key` set to `value`."""
    values = yaml.safe_load(TEXT)
    *sections, last = key.split(".")
    section = values
    for name in sections:
        section = section[name]
    section[last] = value
    return values


def test_the_projects_own_parameters_are_valid():
    assert schema.check(yaml.safe_load(TEXT)).data.dataset == "fashion_mnist"


def test_load_hands_out_the_named_sections_only(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    assert params.load("seed", path=path) == 42
    evaluate, seed = params.load("evaluate", "seed", path=path)
    assert (evaluate.top_k, seed) == (3, 42)


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("1E+1", 10.0), ("5e-1", 0.5), ("0.25", 0.25), ("2", 2.0)])
def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path, text: str, value: float):
    path = tmp_path / "params.yaml"
    path.write_text(re.sub(r"\blr: \S+", f"lr: {text}", TEXT))
    assert params.load("train", path=path).lr == value


def test_a_name_that_begins_like_a_number_is_a_name(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text(re.sub(r"\bdataset: \S+", "dataset: 3e5photos", TEXT))
    assert params.load("data", path=path).dataset == "3e5photos"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("train.lrr", 0.1, "train.lrr = 0.1 is not a parameter; did you mean train.lr?"),
        ("trian", {}, "trian = {} is not a parameter; did you mean train?"),
        ("train.lr", -1.0, "train.lr = -1.0 is not allowed: it should be greater than 0."),
        ("train.lr", float("nan"), "train.lr = nan is not allowed: it should be a finite number."),
        ("train.lr", "fast", "train.lr = 'fast' is not allowed: it should be a valid number."),
        ("train.batch_size", 2.5, "train.batch_size = 2.5 is not allowed: it should be a valid integer."),
        ("train.batch_size", True, "train.batch_size = True is not allowed: it should be a valid integer."),
        ("preprocess.val_fraction", 0, "preprocess.val_fraction = 0 is not allowed: it should be greater than 0."),
        ("preprocess.val_fraction", 1, "preprocess.val_fraction = 1 is not allowed: it should be less than 1."),
        (
            "model.name",
            "resnot",
            "model.name = 'resnot' is not allowed: it must be cnn, sprint, resnet, wide_resnet, lstm, vit or torchvision/<name>; did you",
        ),
        ("model.name", "resnot", "did you mean resnet?"),
        ("model.name", "torchvision/../x", "torchvision/<name>."),
        (
            "model.weights",
            "resnet18.pth",
            "must be null or a .safetensors file, which cannot run code; convert a .pth file",
        ),
        ("model.wide_resnet.depth", 17, "model.wide_resnet.depth = 17 is not allowed: it must be 6 n + 4"),
        ("model.vit.heads", 3, "model.vit: heads = 3 must divide width = 128."),
        ("train.device", "gpu", "train.device = 'gpu' is not allowed: it should be 'auto', 'cpu', 'cuda' or 'mps'"),
        (
            "train.threads",
            0,
            "train.threads = 0 is not allowed: it should be 'auto' or should be greater than or equal to 1.",
        ),
        (
            "data.dataset",
            "../secret",
            "data.dataset = '../secret' is not allowed: it must be the name of one folder under data/datasets",
        ),
        ("data.dataset", "..", "without path separators"),
        ("data.dataset", "", "without path separators"),
        ("train", None, "train = None is not allowed"),
        (
            "train.grad_accumulation",
            997,
            f"train: grad_accumulation = 997 must divide batch_size = {yaml.safe_load(TEXT)['train']['batch_size']}.",
        ),
    ],
)
def test_a_mistake_is_told_in_a_sentence(key: str, value: object, sentence: str):
    with pytest.raises(DarkroomError) as caught:
        schema.check(changed(key, value))
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("params.yaml: ")
    assert len(str(caught.value).splitlines()) == 1


def test_arguments_are_those_of_the_network_chosen():
    assert schema.check(changed("model.name", "wide_resnet")).model.arguments() == {
        "depth": 16,
        "width": 4,
        "dropout": 0.0,
    }
    assert schema.check(changed("model.name", "torchvision/resnet18")).model.arguments() == {}


def test_a_missing_key_is_named():
    values = changed("train.lr", 0.1)
    del values["train"]["lr"]
    with pytest.raises(DarkroomError, match=r"train\.lr is missing"):
        schema.check(values)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: [", "is not valid YAML"),
        ("seed: 1\nseed: 2\n", "the key 'seed' is given twice"),
        ("", "must hold the sections"),
        ("- 1", "must hold the sections"),
        ("a: !!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_such_yaml_is_refused(tmp_path: Path, text: str, sentence: str):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(DarkroomError, match=sentence):
        params.load("seed", path=path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DarkroomError, match=r"params\.yaml is missing: run from the root"):
        params.load("seed", path=tmp_path / "params.yaml")
