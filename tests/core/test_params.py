"""How params.yaml is read, and what the messages on its errors name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from darkroom import schema
from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.core.params import Section, Seed
from darkroom.datasets.config import DataConfig
from darkroom.evaluate.config import EvaluateConfig
from darkroom.inputs.config import ImageConfig
from darkroom.models.config import ModelConfig
from darkroom.train.config import TrainConfig

TEXT = (Path(__file__).parents[2] / "params.yaml").read_text()


def changed(key: str, value: object, remove: str = "") -> dict:
    """The project's parameters with the dotted `key` set to `value`, without the key `remove` of the same section."""
    values = yaml.safe_load(TEXT)
    *sections, last = key.split(".")
    section = values
    for name in sections:
        section = section[name]
    section.pop(remove, None)
    section[last] = value
    return values


def message(values: Any) -> str:
    with pytest.raises(DarkroomError) as caught:
        schema.check(values)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy of the project's params.yaml."""
    copied = tmp_path / "params.yaml"
    copied.write_text(TEXT)
    return copied


def test_the_projects_own_parameters_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(path.parent)
    assert schema.load() == schema.check(yaml.safe_load(TEXT))
    assert schema.load().data.dataset == "fashion_mnist"


def test_load_returns_the_named_sections(path: Path):
    assert params.load(path, seed=Seed) == 42
    evaluate, seed = params.load(path, evaluate=EvaluateConfig, seed=Seed)
    assert (evaluate.top_k, seed) == (3, 42)
    assert isinstance(evaluate, EvaluateConfig)


def test_a_stage_may_read_a_part_of_a_section(path: Path):
    images = params.load(path, preprocess=ImageConfig)
    assert set(images.model_dump()) == {"resize", "interpolation", "crop_fraction", "denoise", "max_pixels"}


def test_load_checks_the_named_sections_only(path: Path):
    path.write_text(TEXT.replace("top_k: 3", "top_k: 0"))
    assert params.load(path, seed=Seed) == 42
    with pytest.raises(DarkroomError, match=r"evaluate\.top_k = 0"):
        params.load(path, evaluate=EvaluateConfig)


TEXTS = [
    "no",
    "yes",
    "on",
    "OFF",
    "y",
    "true",
    "~",
    "007",
    "0o17",
    "0x1F",
    "0b11",
    "-3",
    "1_000",
    "1:30",
    "1:30.5",
    "1.",
    "+.5",
]
TEXTS += ["1.5e3", "1e3", ".5e3", ".inf", ".nan", "2026-01-01", "fashion_mnist", "3e5photos"]


@pytest.mark.parametrize("text", TEXTS)
def test_values_are_read_as_dvc_reads_them(text: str):
    found = yaml.load(f"key: {text}", params.Loader)["key"]
    expected = YAML(typ="safe").load(f"key: {text}")["key"]  # DVC's parser
    assert (type(found), repr(found)) == (type(expected), repr(expected))


@pytest.mark.parametrize(("text", "shown"), [("1e3", "1000.0"), ("007", "7"), ("true", "True"), ("2026-01-01", "2026")])
def test_a_name_that_yaml_does_not_read_as_text_must_be_quoted(path: Path, text: str, shown: str):
    path.write_text(re.sub(r"\bdataset: \S+", f"dataset: {text}", TEXT))
    with pytest.raises(DarkroomError, match="in quotes") as caught:
        params.load(path, data=DataConfig)
    assert shown in str(caught.value)
    path.write_text(re.sub(r"\bdataset: \S+", f"dataset: '{text}'", TEXT))
    assert params.load(path, data=DataConfig).dataset == text


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("1E+1", 10.0), ("5e-1", 0.5), ("0.25", 0.25), ("2", 2.0)])
def test_numbers_are_read_as_dvc_reads_them(path: Path, text: str, value: float):
    path.write_text(re.sub(r"\blr: \S+", f"lr: {text}", TEXT))
    assert params.load(path, train=TrainConfig).lr == value


def test_a_name_that_starts_like_a_number_is_a_name(path: Path):
    path.write_text(re.sub(r"\bdataset: \S+", "dataset: 3e5photos", TEXT))
    assert params.load(path, data=DataConfig).dataset == "3e5photos"


@pytest.mark.parametrize(
    ("key", "value", "facts"),
    [
        ("train.lr", -1.0, ["-1.0", "greater than 0"]),
        ("train.lr", float("nan"), ["nan", "finite"]),
        ("train.lr", "fast", ["'fast'", "number"]),
        ("train.lr", None, ["null", "number"]),
        ("train.batch_size", 2.5, ["2.5", "integer"]),
        ("train.batch_size", True, ["True", "integer"]),
        ("preprocess.val_fraction", 0, ["greater than 0"]),
        ("preprocess.val_fraction", 1, ["less than 1"]),
        ("preprocess.relabel", None, ["null", "none"]),
        ("preprocess.relabel", "../labels.csv", ["'../labels.csv'", "path separators"]),
        ("model.name", "resnot", [", ".join(ModelConfig.families()), "did you mean resnet?"]),
        ("model.name", "torchvision/resnet18", ["torchvision", "model.torchvision.architecture = resnet18"]),
        ("model.pretrained", None, ["null", "none"]),
        ("model.torchvision.architecture", "../x", ["'../x'"]),
        ("model.wide_resnet.depth", 17, ["17", "6 n + 4"]),
        ("train.device", "gpu", ["'gpu'", "'auto', 'cpu', 'cuda' or 'mps'"]),
        ("train.schedule", "plateau", ["'constant', 'cosine' or 'linear'"]),
        ("train.schedule", "cosinus", ["did you mean cosine?"]),
        ("train.threads", 0, ["'auto' or greater than or equal to 1"]),
        ("train.threads", "atuo", ["'auto' or a valid integer", "did you mean auto?"]),
        ("data.dataset", "../secret", ["'../secret'", "data/datasets"]),
        ("data.dataset", "..", ["path separators"]),
        ("data.dataset", "", ["path separators"]),
        ("robustness.severities", [], ["at least 1 item"]),
        ("robustness.severities", [1, 1], ["duplicates"]),
        ("train", 3, ["3", "section", "batch_size"]),
        ("train", None, ["null", "section"]),
        ("model.vit", [1], ["section", "embed_dim"]),
    ],
)
def test_an_error_names_key_value_and_what_is_allowed(key: str, value: object, facts: list[str]):
    found = message(changed(key, value))
    assert found.startswith(f"params.yaml: {key} = ") and len(found.splitlines()) == 1
    assert [fact for fact in facts if fact not in found] == []


@pytest.mark.parametrize(
    ("section", "key", "value", "facts"),
    [
        ("model.vit", "heads", 3, ["heads = 3", "embed_dim = 128"]),
        ("train", "grad_accumulation", 997, ["grad_accumulation = 997", "batch_size = auto"]),
    ],
)
def test_an_error_between_two_keys_names_their_section(section: str, key: str, value: object, facts: list[str]):
    found = message(changed(f"{section}.{key}", value))
    assert found.startswith(f"params.yaml: {section}: ") and len(found.splitlines()) == 1
    assert [fact for fact in facts if fact not in found] == []


def test_a_loaded_section_is_named_in_its_errors(path: Path):
    path.write_text(re.sub(r"\bgrad_accumulation: \S+", "grad_accumulation: 997", TEXT))
    with pytest.raises(DarkroomError, match=r"params\.yaml: train: grad_accumulation = 997"):
        params.load(path, train=TrainConfig)
    path.write_text("train: 3")
    with pytest.raises(DarkroomError, match=r"params\.yaml: train = 3: .*batch_size"):
        params.load(path, train=TrainConfig)


@pytest.mark.parametrize(
    ("key", "remove", "hint"),
    [
        ("train.lrr", "", "did you mean train.lr?"),
        ("train.lrr", "lr", "did you mean train.lr?"),
        ("trian", "train", "did you mean train?"),
        ("preprocess.clean.leek", "", "did you mean preprocess.clean.leak?"),
        ("robustness.zzz", "", "known: samples, severities."),
    ],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(key: str, remove: str, hint: str):
    found = message(changed(key, 0.1, remove))
    assert found.startswith(f"params.yaml: {key} is not a parameter") and found.endswith(hint)
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "new"),
    [
        ("train.accumulate", "train.grad_accumulation"),
        ("train.clip_norm", "train.grad_clip_norm"),
        ("train.warmup", "train.warmup_fraction"),
        ("train.weights", "train.keep_weights"),
        ("train.checkpoint_every", "train.checkpoint_steps"),
        ("train.augment.erase", "train.augment.random_erasing"),
        ("train.augment.crop", "train.augment.min_crop_area"),
        ("model.weights", "model.pretrained"),
        ("model.resnet.width", "model.resnet.channels"),
        ("evaluate.gallery", "evaluate.gallery_size"),
        ("explain.each", "explain.images_per_kind"),
        ("export.int8.max_loss", "export.int8.max_accuracy_drop"),
        ("export.int8.calibration", "export.int8.calibration_samples"),
    ],
)
@pytest.mark.parametrize("both", [False, True])
def test_a_renamed_key_names_the_new_one(key: str, new: str, both: bool):
    found = message(changed(key, 0, remove="" if both else new.rpartition(".")[2]))
    assert found == f"params.yaml: {key} was renamed: use {new}."


def sections(kind: type[Section]) -> Iterator[type[Section]]:
    yield kind
    for field in kind.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from sections(field.annotation)


def test_every_renamed_key_has_a_present_name():
    kinds = set(sections(schema.Params))
    assert {TrainConfig, ModelConfig} < kinds
    for kind in kinds:
        assert set(kind.renamed.values()) <= set(kind.model_fields), kind
        assert not set(kind.renamed) & set(kind.model_fields), kind


def test_several_errors_have_a_line_each():
    values = changed("train.lr", -1)
    values["model"]["name"] = "resnot"
    values["evaluate"]["gallery"] = values["evaluate"].pop("gallery_size")
    lines = message(values).splitlines()
    assert sorted(line.split()[1] for line in lines) == ["evaluate.gallery", "model.name", "train.lr"]


def test_only_the_chosen_network_has_arguments():
    arguments = schema.check(changed("model.name", "wide_resnet")).model.arguments()
    assert arguments == {"depth": 16, "widen_factor": 4, "dropout": 0.0}
    assert schema.check(changed("model.name", "torchvision")).model.arguments() == {"architecture": "resnet18"}


def test_a_missing_key_is_named(path: Path):
    values = yaml.safe_load(TEXT)
    del values["train"]["lr"]
    assert message(values).startswith("params.yaml: train.lr is missing")
    del values["explain"]
    assert sorted(line.split()[1] for line in message(values).splitlines()) == ["explain", "train.lr"]
    path.write_text("seed: 42")
    with pytest.raises(DarkroomError, match="train is missing"):
        params.load(path, seed=Seed, train=TrainConfig)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("train: [", "not valid YAML"),
        ("seed: 1\nseed: 2\n", "'seed' is given twice"),
        ("", "null"),
        ("- 1", r"\[1\]"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("5: 3", "seed is missing"),
    ],
)
def test_a_file_without_sections_is_an_error(tmp_path: Path, text: str, fact: str):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(DarkroomError, match=fact):
        params.load(path, seed=Seed)


@pytest.mark.parametrize("values", [None, [1], 3, {5: 3}])
def test_values_that_are_not_sections_are_an_error(values: object):
    assert message(values)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DarkroomError, match=r"params\.yaml is missing"):
        params.load(tmp_path / "params.yaml", seed=Seed)
