"""The measurements of each epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darkroom.train.gradients import LayerGradients


@dataclass(frozen=True)
class Record:
    """The measurements of one epoch.

    Training and validation loss compare like with like: both are those of the weights at the end of the epoch, in
    evaluation mode, without augmentation and label smoothing. Those of the batches include all three.
    """

    epoch: int  # counted from 1
    lr: float  # of the last step
    train_loss: float  # of a sample of the training split
    train_accuracy: float
    batch_loss: float  # mean over the epoch, of augmented batches with label smoothing
    batch_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float  # of training, without these measurements
    layers: Mapping[str, LayerGradients]
    objective: Mapping[str, float | None] = field(default_factory=dict)  # what it measures itself, by column name

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Record":
        """A record from its JSON."""
        layers = {name: LayerGradients(*measured) for name, measured in fields["layers"].items()}
        return cls(**{**fields, "layers": layers})

    def curves(self) -> dict[str, float]:
        """The numbers to plot, by column name."""
        return {name: value for name, value in vars(self).items() if name not in ("seconds", "layers", "objective")}

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch:3}: training loss {self.train_loss:.4f}, accuracy {self.train_accuracy:.2%}; "
            f"validation loss {self.val_loss:.4f}, accuracy {self.val_accuracy:.2%}; {self.seconds:.1f} s"
        )


def best(records: Sequence[Record], by_loss: bool = False) -> Record:
    """The record with the highest validation accuracy; of equals that with the lowest loss, then the first.

    With `by_loss`, that with the lowest validation loss: among many classes, few examples are predicted correctly.
    """
    return max(records, key=lambda record: (0.0 if by_loss else record.val_accuracy, -record.val_loss))
