from typing import Any

import pytest

from darkroom.core import params
from darkroom.core.errors import DarkroomError
from darkroom.train.config import TrainConfig
from tests.trainings import PATH

TRAIN = params.read(PATH)["train"]


def checked(**changes: Any) -> TrainConfig:
    return params.validate(TrainConfig, {**TRAIN, **changes}, "params.yaml", "train")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("accumulate", "grad_accumulation"),
        ("clip_norm", "grad_clip_norm"),
        ("warmup", "warmup_fraction"),
        ("weights", "keep_weights"),
        ("checkpoint_every", "checkpoint_steps"),
    ],
)
def test_earlier_name_of_a_parameter_is_rejected_with_its_new_name(old: str, new: str):
    values = {**TRAIN, old: TRAIN[new]}
    del values[new]
    with pytest.raises(DarkroomError, match=rf"train\.{old}\b.*train\.{new}\b") as caught:
        params.validate(TrainConfig, values, "params.yaml", "train")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("old", "new"), [("erase", "random_erasing"), ("crop", "min_crop_area")])
def test_earlier_name_of_an_augmentation_is_rejected_with_its_new_name(old: str, new: str):
    values = {**TRAIN["augment"], old: TRAIN["augment"][new]}
    del values[new]
    with pytest.raises(DarkroomError, match=rf"train\.augment\.{old}\b.*train\.augment\.{new}\b") as caught:
        checked(augment=values)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("schedule", ["plateau", "triangular"])
def test_earlier_schedules_are_rejected(schedule: str):
    with pytest.raises(DarkroomError, match=rf"train\.schedule = '{schedule}'.*linear"):
        checked(schedule=schedule)


def test_grad_accumulation_must_divide_the_batch_size():
    assert checked(batch_size=12, grad_accumulation=4).grad_accumulation == 4
    with pytest.raises(DarkroomError, match=r"grad_accumulation = 5 .*batch_size = 12"):
        checked(batch_size=12, grad_accumulation=5)


def test_grad_accumulation_must_divide_every_batch_size_that_auto_may_choose():
    assert checked(batch_size="auto", grad_accumulation=8).grad_accumulation == 8
    with pytest.raises(DarkroomError, match=r"grad_accumulation = 32 .*batch_size = auto.* 16\b"):
        checked(batch_size="auto", grad_accumulation=32)


@pytest.mark.parametrize("value", [0, -1, 2.5, "automatic", True, None])
def test_wrong_batch_size_is_rejected_in_one_line(value: object):
    with pytest.raises(DarkroomError, match=r"train\.batch_size = .*auto") as caught:
        checked(batch_size=value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", [-1, 2.5, "auto", 10**9])
def test_wrong_least_number_of_steps_is_rejected_in_one_line(value: object):
    with pytest.raises(DarkroomError, match=r"train\.min_steps = ") as caught:
        checked(min_steps=value)
    assert len(str(caught.value).splitlines()) == 1


def test_fp16_on_a_cpu_is_rejected():
    with pytest.raises(DarkroomError, match="fp16"):
        checked(precision="fp16", device="cpu")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tune": "lora"}, "tune = lora"),
        ({"tune": "adalora"}, "tune = adalora"),
        ({"freeze_epochs": 0.5}, r"freeze_epochs = 0\.5"),
        ({"precision": "fp16"}, "precision = fp16"),
    ],
)
def test_what_a_sharded_training_cannot_do_is_refused(changes: dict, named: str):
    checked(parallel="data", **changes)
    with pytest.raises(DarkroomError, match=f"parallel = sharded does not go with {named}: use"):
        checked(parallel="sharded", **changes)


def test_more_processes_than_examples_in_a_batch_are_refused():
    checked(processes=16, batch_size=16)
    with pytest.raises(DarkroomError, match="processes = 17 must be at most batch_size = 16"):
        checked(processes=17, batch_size=16)


def test_an_aspect_ratio_without_random_crops_is_refused():
    crops = {**TRAIN["augment"], "max_crop_aspect": 1.5}
    assert checked(augment={**crops, "min_crop_area": 0.5}).augment.max_crop_aspect == 1.5
    with pytest.raises(DarkroomError, match=r"train\.augment.*max_crop_aspect = 1\.5 .*min_crop_area"):
        checked(augment={**crops, "min_crop_area": 1.0})
