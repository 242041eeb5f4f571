"""What a bundle says of its model: manifest.json. That of images has no key `kind`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from darkroom.core.spelling import counted
from darkroom.inputs.resizing import Interpolation, Resize

Value = Annotated[int, Field(ge=0, le=2**16 - 1)]  # of a pixel with 16 bits
Probability = Annotated[float, Field(ge=0, le=1)]
SetKind = Literal["marginal", "class_conditional"]  # of prediction sets


@dataclass(frozen=True)
class Conformal:
    """Thresholds of the probability from which a class is in a prediction set, fitted on the validation set.

    darkroom/evaluate/conformal.py says what the sets guarantee.
    """

    coverage: Annotated[float, Field(gt=0, lt=1)]  # fraction of images whose set contains the right class
    marginal: Probability  # for every class: the coverage holds on average over the classes
    class_conditional: tuple[Probability, ...]  # by class: the coverage holds in every class

    def prediction_set(self, probabilities: np.ndarray, kind: SetKind) -> np.ndarray:
        """The classes in the set for probabilities (K,), as indices (n,) int64, most probable first; never empty."""
        order = np.argsort(-probabilities, kind="stable")
        inside = probabilities >= np.asarray(getattr(self, kind))
        inside[order[0]] = True
        return order[inside[order]]


@dataclass(frozen=True)
class Pretrained:
    """Weights that a network was fine-tuned from."""

    title: str
    licence: str
    sha256: str  # of their file


@dataclass(frozen=True)
class Teacher:
    """Trained networks from whose answers a network learned."""

    name: str
    networks: tuple[str, ...]  # family and architecture of each
    parameters: int
    accuracy: Annotated[float, Field(ge=0, le=1)]  # on the same test set
    sha256: tuple[str, ...]  # of the weights of each
    pretrained: tuple[Pretrained, ...]  # the weights that some of them were fine-tuned from


class _Described:
    """What manifests of every kind can tell."""

    threshold: float | None
    target_accuracy: float
    target_confidence: float
    validation_examples: int

    def withholds(self, confidence: float) -> bool:
        """Whether a prediction with this confidence (its largest probability) should be withheld."""
        return self.threshold is None or confidence < self.threshold

    def why_no_threshold(self) -> str:
        """One sentence for a bundle whose `threshold` is None."""
        return (
            f"No threshold could be shown: {counted(self.validation_examples, 'validation example')} "
            f"{'does' if self.validation_examples == 1 else 'do'} not prove for any confidence that "
            f"{100 * self.target_accuracy:.4g} % of the answers are correct (at {100 * self.target_confidence:.4g} % "
            "confidence)."
        )


@dataclass(frozen=True)
class Manifest(_Described):
    """What the outputs of a model of images mean, and what it was made from."""

    kind: ClassVar[str] = "image"
    format: int
    model: str  # family of the network
    dataset: str
    title: str
    licence: str
    data_sha256: str  # of the arrays that it was trained on
    classes: tuple[str, ...]  # names of the columns of logits and probabilities
    shape: tuple[PositiveInt, PositiveInt, Literal[1, 3]]  # height, width, channels
    resize: Resize  # how the model resizes images of other sizes
    interpolation: Interpolation
    crop_fraction: Annotated[float, Field(ge=0.5, le=1)]  # sides of the centre, which is what the network sees of that
    denoise: Literal["none", "median"]  # what the model then applies to every image
    max_pixels: PositiveInt  # larger image files are not decoded
    opset: PositiveInt  # of ONNX
    temperature: Annotated[FiniteFloat, Field(gt=0)]  # fitted on the validation set
    threshold: Probability | None  # of the confidence, see `withholds`; None: none could be shown, so withhold all
    target_accuracy: Annotated[float, Field(gt=0, le=1)]  # of the predictions that reach the threshold
    target_confidence: Annotated[float, Field(gt=0, lt=1)]  # with which the validation set shows this
    validation_examples: PositiveInt
    conformal: Conformal
    metrics: Mapping[str, int | FiniteFloat]  # of the test set
    reference: Mapping[str, int | Mapping[str, tuple[FiniteFloat, ...]]]  # from darkroom.bundle.drift.reference
    files: Mapping[str, str]  # SHA-256 by name
    intensity_range: tuple[Value, Value] | None  # of images of more than 8 bits; None: all 16 bits
    pretrained: Pretrained | None  # the weights that the network was fine-tuned from; None: random ones
    teacher: Teacher | None  # from which the network learned; None: from the labels alone


@dataclass(frozen=True)
class Decision:
    """How the probability of one class, the risk, decides."""

    positive: Annotated[int, Field(ge=0)]  # the class, as an index
    threshold: Probability  # a risk that reaches it is refused


@dataclass(frozen=True, kw_only=True)
class _Model:
    """What the outputs of a model mean, and what it was made from, for every kind but images."""

    format: int
    model: str  # family of the network
    dataset: str
    title: str
    licence: str
    data_sha256: str  # of the arrays that it was trained on
    classes: tuple[str, ...]  # names of the columns of logits and probabilities
    opset: PositiveInt  # of ONNX
    temperature: Annotated[FiniteFloat, Field(gt=0)]
    metrics: Mapping[str, int | FiniteFloat]
    reference: Mapping[str, int | Mapping[str, tuple[FiniteFloat, ...]]]
    files: Mapping[str, str]  # SHA-256 by name
    pretrained: Pretrained | None
    teacher: Teacher | None


@dataclass(frozen=True, kw_only=True)
class _Classifier(_Model, _Described):
    """A model that withholds predictions, and gives sets of classes."""

    threshold: Probability | None
    target_accuracy: Annotated[float, Field(gt=0, le=1)]
    target_confidence: Annotated[float, Field(gt=0, lt=1)]
    validation_examples: PositiveInt
    conformal: Conformal


@dataclass(frozen=True, kw_only=True)
class TextManifest(_Classifier):
    """The manifest of a model of texts."""

    kind: Literal["text"] = "text"
    shape: tuple[PositiveInt, PositiveInt]  # tokens at most, after which a text is cut, and kinds of tokens


@dataclass(frozen=True, kw_only=True)
class TableManifest(_Classifier):
    """The manifest of a model of rows of a table."""

    kind: Literal["table"] = "table"
    shape: tuple[NonNegativeInt, ...]  # of each column the kinds of categories, or 0 for numbers; see columns.json
    target: str  # the column that is predicted
    decision: Decision | None = None  # None: no class is a risk


@dataclass(frozen=True)
class Events:
    """What the dataset.yaml of the training data says of its table of events; None: nothing."""

    user: str | None = None  # columns
    item: str | None = None
    time: str | None = None
    rating: str | None = None
    min_rating: FiniteFloat | None = None  # events with a lower rating did not count


@dataclass(frozen=True, kw_only=True)
class HistoryManifest(_Model):
    """The manifest of a model of histories, whose classes are the ids of the items.

    It has no threshold: of thousands of items the most probable one is hardly ever likely, and still worth a try.
    """

    kind: Literal["history"] = "history"
    # Items at most, the latest of a longer history; kinds of indices; features of an item, which the model contains
    shape: tuple[PositiveInt, PositiveInt, NonNegativeInt]
    events: Events = Events()
