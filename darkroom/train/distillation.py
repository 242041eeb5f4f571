"""Learn from the answers of a teacher too.

Hinton et al., "Distilling the knowledge in a neural network", 2015. Teacher and student see the same augmented inputs,
also where mixup or CutMix blends them: Beyer et al., "Knowledge distillation: a good teacher is patient and
consistent", CVPR 2022.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from darkroom.core.arrays import Manifest
from darkroom.teachers import descriptions, ensemble
from darkroom.teachers.descriptions import Teacher
from darkroom.train.config import DistillConfig
from darkroom.train.objective import Batch, Objective, Supervised


class Distillation(Objective):
    """Supervised loss, and the Kullback-Leibler divergence of the student's answers from the teacher's.

    (1 - weight) supervised + weight T^2 KL(teacher || student), both with logits divided by the temperature T. The
    factor T^2 keeps the size of the gradients: Hinton et al., section 2.
    """

    is_capturable = True

    def __init__(self, supervised: Supervised, teacher: nn.Module, weight: float, temperature: float):
        self.supervised, self.teacher, self.weight, self.temperature = supervised, teacher, weight, temperature

    def loss(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective.loss`."""
        logits = network(batch.inputs)
        supervised, correct = self.supervised.compare(logits, batch.targets)
        with torch.no_grad():
            wanted = self.teacher(batch.inputs, self.temperature)
        found = log_softmax(logits.float() / self.temperature, 1)
        divergence = kl_div(found, wanted, reduction="batchmean", log_target=True)
        return (1 - self.weight) * supervised + self.weight * self.temperature**2 * divergence, correct


def find(settings: DistillConfig) -> Teacher | None:
    """The description of the teacher; None if there is none. Raises DarkroomError if it is unknown or invalid."""
    return None if settings.teacher == descriptions.NONE else descriptions.load(settings.teacher)


def summary(settings: DistillConfig) -> dict[str, float]:
    """For metrics/train.json: the teacher's accuracy on the test split, as measured when it was kept."""
    teacher = find(settings)
    return {"teacher_accuracy": teacher.accuracy} if teacher else {}


def build(
    teacher: Teacher, settings: DistillConfig, supervised: Supervised, manifest: Manifest, device: torch.device
) -> Distillation:
    """The objective on `device`, for inputs that are normalised as `manifest` says.

    Raises DarkroomError if the teacher has other classes, another test split or other channels, or if its weights
    differ from its description.
    """
    teacher.require_same_task(manifest)
    networks = ensemble.load(teacher.folder, teacher, manifest).to(device, memory_format=torch.channels_last)
    return Distillation(supervised, networks, settings.weight, settings.temperature)
