"""The schema of params.yaml, and its only reader.

The whole file is checked before any section is handed out, so a stage that has not asked for a section still refuses a
mistake in it. A section that a stage has not asked for by name cannot be read by accident: that keeps the `params:` of
dvc.yaml complete.
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from darkroom.errors import DarkroomError

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=4096)]
PATH = Path("params.yaml")
FAMILIES = ("cnn", "sprint", "resnet", "wide_resnet", "lstm", "vit")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[^/\\\x00-\x1f]+", name) or name.startswith("."):
        raise ValueError("must be the name of one folder under data/datasets, without path separators")
    return name


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[^/\\\x00-\x1f]+\.csv", name) or name.startswith("."):
        raise ValueError("must be null or the name of a .csv file in the dataset's folder, without path separators")
    return name


def _network(name: str) -> str:
    if name in FAMILIES or re.fullmatch(r"torchvision/[a-z0-9_]+", name):
        return name
    nearest = difflib.get_close_matches(name, FAMILIES, 1)
    raise ValueError(f"must be {', '.join(FAMILIES)} or torchvision/<name>{f'; did you mean {nearest[0]}?' if nearest else ''}")


def _whole_blocks(depth: int) -> int:
    if depth % 6 != 4:
        raise ValueError("must be 6 n + 4: 10, 16, 22, 28, 34, 40 ...")
    return depth


def _once(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("each must stand there once")
    return values


def _weights_file(path: str) -> str:
    if not path.endswith(".safetensors"):
        raise ValueError(
            "must be null or a .safetensors file, which cannot run code; convert a .pth file that you trust once with "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW_FILE)"
        )
    return path


class Data(_Section):
    """Which data."""

    dataset: Annotated[str, AfterValidator(_folder_name)]


class Clean(_Section):
    """What is left out of the data."""

    constant: bool
    leak: bool
    near_leak: Annotated[float, Field(ge=0, le=64)]
    conflict: bool
    duplicate: bool
    max_aspect: Annotated[float, Field(ge=0)]
    min_class_size: Annotated[int, Field(ge=0)]


class Preprocess(_Section):
    """From raw files to packed arrays."""

    image_size: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
    color: Literal["auto", "grey", "rgb"]
    resize: Literal["stretch", "crop", "pad"]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    denoise: Literal["none", "median"]
    clean: Clean
    relabel: Annotated[str, AfterValidator(_file_name)] | None
    max_pixels: Positive
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]


class Cnn(_Section):
    """Parameters of the classic network."""

    width: Width
    hidden: Annotated[int, Field(ge=1, le=65536)]
    dropout: Share


class Sprint(_Section):
    """Parameters of the network made for seconds."""

    width: Width
    dropout: Share


class Resnet(_Section):
    """Parameters of the small residual network."""

    width: Width
    dropout: Share


class WideResnet(_Section):
    """Parameters of the wide residual network."""

    depth: Annotated[int, Field(ge=10, le=1000), AfterValidator(_whole_blocks)]
    width: Annotated[int, Field(ge=1, le=100)]
    dropout: Share


class Lstm(_Section):
    """Parameters of the recurrent network."""

    width: Width
    layers: Annotated[int, Field(ge=1, le=16)]
    dropout: Share


class Vit(_Section):
    """Parameters of the compact convolutional Transformer."""

    width: Annotated[int, Field(ge=2, le=4096)]
    depth: Annotated[int, Field(ge=1, le=100)]
    heads: Annotated[int, Field(ge=1, le=256)]
    mlp_ratio: Annotated[float, Field(gt=0, le=16)]
    dropout: Share

    @model_validator(mode="after")
    def _possible(self) -> "Vit":
        if self.width % self.heads:
            raise ValueError(f"heads = {self.heads} must divide width = {self.width}")
        return self


class Model(_Section):
    """Which network, the weights that it starts from, and the parameters of each family."""

    name: Annotated[str, AfterValidator(_network)]
    weights: Annotated[str, AfterValidator(_weights_file)] | None
    cnn: Cnn
    sprint: Sprint
    resnet: Resnet
    wide_resnet: WideResnet
    lstm: Lstm
    vit: Vit

    def arguments(self) -> dict[str, Any]:
        """The parameters of the network chosen; torchvision's have none."""
        return {} if self.name.startswith("torchvision/") else getattr(self, self.name).model_dump()


class Augment(_Section):
    """How training pictures are varied."""

    flip: Literal["auto", "none", "random", "alternating"]
    shift: Literal["auto"] | Annotated[int, Field(ge=0, le=64)]
    erase: Annotated[float, Field(ge=0, le=1)]
    crop: Annotated[float, Field(gt=0, le=1)]
    mixup: Annotated[float, Field(ge=0, le=100)]
    cutmix: Annotated[float, Field(ge=0, le=100)]


class Train(_Section):
    """The recipe of the training."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
    epochs: Annotated[float, Field(gt=0, le=100_000)]
    batch_size: Positive
    accumulate: Positive
    optimizer: Literal["sgd", "adamw", "muon"]
    lr: Annotated[float, Field(gt=0)]
    momentum: Share
    weight_decay: Annotated[float, Field(ge=0)]
    schedule: Literal["constant", "cosine", "triangular", "plateau"]
    warmup: Share
    label_smoothing: Share
    clip_norm: Annotated[float, Field(ge=0)]
    ema_decay: Share
    early_stopping: Annotated[int, Field(ge=0)]
    weights: Literal["best", "last"]
    checkpoint_every: Annotated[int, Field(ge=0)]
    augment: Augment

    @model_validator(mode="after")
    def _possible(self) -> "Train":
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate = {self.accumulate} must divide batch_size = {self.batch_size}")
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision = fp16 needs a GPU: with device = cpu take fp32 or bf16")
        return self


class Evaluate(_Section):
    """What is measured on the test set."""

    top_k: Annotated[int, Field(ge=2, le=1000)]
    test_time_flip: bool
    gallery: Annotated[int, Field(ge=1, le=100)]
    target_accuracy: Annotated[float, Field(gt=0, le=1)]


class Robustness(_Section):
    """Corruptions of the test pictures."""

    severities: Annotated[list[Literal[1, 2, 3, 4, 5]], Field(min_length=1), AfterValidator(_once)]


class Explain(_Section):
    """What the network looked at."""

    each: Annotated[int, Field(ge=1, le=50)]


class Int8(_Section):
    """The model in 8 bits, and what it must reach."""

    calibration: Positive
    max_loss: Share
    min_agreement: Annotated[float, Field(ge=0, le=1)]
    min_speedup: Annotated[float, Field(ge=0)]


class Export(_Section):
    """The portable bundle."""

    opset: Annotated[int, Field(ge=18, le=23)]
    tolerance: Annotated[float, Field(gt=0, le=1)]
    int8: Int8


class Params(_Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: Data
    preprocess: Preprocess
    model: Model
    train: Train
    evaluate: Evaluate
    robustness: Robustness
    explain: Explain
    export: Export


class Loader(yaml.SafeLoader):
    """Safe YAML that reads `1e-4` as a number, as YAML 1.2 and DVC do, and refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} is given twice (line {node.start_mark.line + 1} and below)")
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def load(*sections: str, path: str | Path = PATH) -> Any:
    """Checks the whole of `path` and returns the sections named: one alone as it is, several as a tuple.

    Raises DarkroomError, in one sentence a mistake that names the key, the value, what is allowed and the nearest known key.
    """
    params = check(read(Path(path)), str(path))
    chosen = tuple(getattr(params, section) for section in sections)
    return chosen[0] if len(chosen) == 1 else chosen


def check(values: Any, source: str = "params.yaml") -> Params:
    """Checks the parsed contents of a params.yaml; raises DarkroomError as `load` does, naming `source`."""
    if not isinstance(values, dict):
        raise DarkroomError(f"{source} must hold the sections {', '.join(Params.model_fields)}, but it holds {values!r}.")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        sentences: dict[str, str] = {}  # by key: a union's members each complain, and one sentence joins them
        for mistake in error.errors():
            key, start, allowed = _sentence(mistake)
            sentences[key] = f"{sentences[key]} or {allowed}" if key in sentences else f"{start}{allowed}"
        raise DarkroomError(
            "\n".join(f"{source}: {sentence}".rstrip(".?") + ("?" if sentence.endswith("?") else ".") for sentence in sentences.values())
        ) from None


def read(path: Path) -> Any:
    """The parsed contents of a YAML file, unchecked; raises DarkroomError where it is missing or no YAML."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)  # Loader is a SafeLoader: plain values only
    except FileNotFoundError:
        raise DarkroomError(f"{path} is missing: run from the root of the project, or restore it with `git checkout {path}`.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DarkroomError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None


def _sentence(mistake: dict) -> tuple[str, str, str]:
    """The key of one of pydantic's errors, and the two halves of a sentence about it: what was given, what is allowed."""
    keys = [str(key) for key in mistake["loc"] if str(key) != "constrained-int" and not str(key).startswith("literal[")]
    key, value = ".".join(keys), mistake["input"]
    if mistake["type"] == "extra_forbidden":
        known = list(_section_at(keys[:-1]).model_fields)
        nearest = difflib.get_close_matches(keys[-1], known, 1, cutoff=0.5)
        remedy = f"did you mean {'.'.join([*keys[:-1], nearest[0]])}?" if nearest else f"known here: {', '.join(known)}"
        return key, f"{key} = {value!r} is not a parameter; ", remedy
    if mistake["type"] == "missing":
        return key, f"{key} is missing: ", "add it, or restore the file with `git checkout params.yaml`"
    allowed = mistake["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("dictionary or instance of", "section like")
    if mistake["type"] == "literal_error" and isinstance(value, str):
        nearest = difflib.get_close_matches(value, re.findall(r"'([^']+)'", allowed), 1)
        allowed += f"; did you mean {nearest[0]}?" if nearest else ""
    if isinstance(value, dict):
        return key, f"{key}: ", allowed
    return key, f"{key} = {value!r} is not allowed: it ", allowed


def _section_at(keys: list[str]) -> type[BaseModel]:
    section: type[BaseModel] = Params
    for key in keys:
        section = section.model_fields[key].annotation
    return section
