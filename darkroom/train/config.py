"""The `train` section of params.yaml."""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from darkroom.core.params import Fraction, NameOrNone, PositiveInt, Section

BATCH_SIZES = (512, 256, 128, 64, 32, 16)  # from which batch_size = auto chooses


class AugmentConfig(Section):
    """Augmentation of training images."""

    renamed: ClassVar = {"erase": "random_erasing", "crop": "min_crop_area"}
    flip: Literal["auto", "none", "random", "alternating"]
    shift: Literal["auto"] | Annotated[int, Field(ge=0, le=64)]
    random_erasing: Annotated[float, Field(ge=0, le=1)]
    min_crop_area: Annotated[float, Field(gt=0, le=1)]
    max_crop_aspect: Annotated[float, Field(ge=1, le=10)]
    color_jitter: Annotated[float, Field(ge=0, le=1)]
    policy: Literal["none", "trivial", "rand"]
    mixup: Annotated[float, Field(ge=0, le=100)]
    cutmix: Annotated[float, Field(ge=0, le=100)]

    @model_validator(mode="after")
    def _consistent(self) -> "AugmentConfig":
        if self.max_crop_aspect > 1 and self.min_crop_area == 1:
            given = f"max_crop_aspect = {self.max_crop_aspect:g}"
            raise ValueError(f"{given} needs random crops: set min_crop_area below 1, or max_crop_aspect to 1")
        return self


class LoraConfig(Section):
    """Low-rank adapters."""

    rank: Annotated[int, Field(ge=1, le=1024)]
    alpha: Annotated[float, Field(gt=0, le=10_000)]
    dropout: Fraction
    targets: Annotated[str, Field(min_length=1)]

    @field_validator("targets")
    @classmethod
    def _is_regular_expression(cls, targets: str) -> str:
        try:
            re.compile(targets)
        except re.error as error:
            raise ValueError(f"{targets!r} is not a regular expression ({error}); auto chooses the layers") from None
        return targets


class DistillConfig(Section):
    """Distillation from a teacher."""

    teacher: NameOrNone
    weight: Annotated[float, Field(ge=0, le=1)]
    temperature: Annotated[float, Field(gt=0, le=100)]


class SemiSupervisedConfig(Section):
    """Learning from examples without labels."""

    method: Literal["none", "pseudo_label", "fixmatch", "freematch"]
    unlabelled_ratio: Annotated[int, Field(ge=1, le=64)]
    weight: Annotated[float, Field(ge=0, le=100)]
    threshold: Annotated[float, Field(ge=0, lt=1)]
    ramp_up: Annotated[float, Field(ge=0, le=1)]
    pseudo_labels_from: Literal["network", "ema"]


class TrainConfig(Section):
    """The training recipe."""

    renamed: ClassVar = {
        "accumulate": "grad_accumulation",
        "clip_norm": "grad_clip_norm",
        "warmup": "warmup_fraction",
        "weights": "keep_weights",
        "checkpoint_every": "checkpoint_steps",
    }
    tune: Literal["all", "head", "lora", "adalora"]
    lora: LoraConfig
    freeze_epochs: Annotated[float, Field(ge=0, le=100_000)]
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    batch_norm: Literal["train", "frozen"]
    distill: DistillConfig
    semi_supervised: SemiSupervisedConfig
    processes: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
    parallel: Literal["data", "sharded"]
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
    epochs: Annotated[float, Field(gt=0, le=100_000)]
    batch_size: Literal["auto"] | PositiveInt
    min_steps: Annotated[int, Field(ge=0, le=10_000_000)]
    grad_accumulation: PositiveInt
    optimizer: Literal["sgd", "adamw", "muon"]
    lr: Annotated[float, Field(gt=0)]
    momentum: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Literal["constant", "cosine", "linear"]
    warmup_fraction: Fraction
    label_smoothing: Fraction
    sampled_items: Annotated[int, Field(ge=0, le=1_000_000)]
    grad_clip_norm: Annotated[float, Field(ge=0)]
    ema_decay: Fraction
    early_stopping: Annotated[int, Field(ge=0)]
    keep_weights: Literal["best", "last"]
    checkpoint_steps: Annotated[int, Field(ge=0)]
    augment: AugmentConfig

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        chooses = self.batch_size == "auto"
        batch_size = BATCH_SIZES[-1] if chooses else self.batch_size
        if batch_size % self.grad_accumulation:
            given = f"grad_accumulation = {self.grad_accumulation}"
            note = f", which may choose {batch_size}" if chooses else ""
            raise ValueError(f"{given} must divide batch_size = {self.batch_size}{note}")
        if self.processes != "auto" and self.processes > batch_size:
            raise ValueError(f"processes = {self.processes} must be at most batch_size = {self.batch_size}")
        if self.sampled_items and self.label_smoothing:
            given = f"sampled_items = {self.sampled_items}"
            raise ValueError(f"{given} does not go with label_smoothing = {self.label_smoothing:g}: set one to 0")
        adapts = self.tune in ("lora", "adalora")
        if self.parallel == "sharded" and (adapts or self.freeze_epochs):  # FSDP2 fixes at first what is trained
            given = f"tune = {self.tune}" if adapts else f"freeze_epochs = {self.freeze_epochs:g}"
            raise ValueError(f"parallel = sharded does not go with {given}: use parallel = data")
        if self.parallel == "sharded" and self.precision == "fp16":
            raise ValueError("parallel = sharded does not go with precision = fp16: use bf16 or fp32")
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision = fp16 needs a GPU: with device = cpu choose fp32 or bf16")
        if self.tune == "head" and self.distill.teacher != "none":
            raise ValueError("tune = head trains on features, without images for a teacher: use all or lora")
        if self.semi_supervised.method != "none":
            self._require_views()
        return self

    def _require_views(self) -> None:
        given = f"semi_supervised.method = {self.semi_supervised.method}"
        if self.tune == "head":
            raise ValueError(f"tune = head trains on features, without views of examples for {given}: use all or lora")
        if self.distill.teacher != "none":
            raise ValueError(f"{given} does not go with distill.teacher = {self.distill.teacher}: set one to none")
        if self.semi_supervised.pseudo_labels_from == "ema" and not self.ema_decay:
            raise ValueError("semi_supervised.pseudo_labels_from = ema needs ema_decay, for example 0.99")


SECTIONS = {"train": TrainConfig}
