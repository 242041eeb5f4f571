import pytest
import torch
from torch import nn

from darkroom.train.objective import Batch, Objective, Supervised
from tests.trainings import recipe, trainer


@pytest.mark.parametrize(("parts", "sizes"), [(1, [7]), (3, [3, 2, 2]), (7, [1] * 7)])
def test_parts_of_a_batch_differ_in_size_by_one_at_most(parts: int, sizes: list[int]):
    batch = Batch(torch.arange(14.0).reshape(7, 2), torch.arange(7))
    split = batch.split(parts)
    assert [len(part.inputs) for part in split] == [len(part.targets) for part in split] == sizes
    assert torch.equal(torch.cat([part.inputs for part in split]), batch.inputs)
    assert torch.equal(torch.cat([part.targets for part in split]), batch.targets)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_supervised_loss_is_the_cross_entropy_and_counts_correct_predictions(smoothing: float):
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0]])
    loss, correct = Supervised(smoothing).loss(nn.Identity(), Batch(logits, torch.tensor([0, 1])))
    wanted = (1 - smoothing) * torch.eye(3)[[0, 1]] + smoothing / 3
    assert loss.item() == pytest.approx(-(wanted * logits.log_softmax(1)).sum(1).mean().item())
    assert correct.item() == 1


def test_supervised_loss_takes_class_probabilities():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0]])
    targets = torch.tensor([[0.3, 0.0, 0.7], [0.2, 0.0, 0.8]])
    loss, correct = Supervised(0.0).loss(nn.Identity(), Batch(logits, targets))
    assert loss.item() == pytest.approx(-(targets * logits.log_softmax(1)).sum(1).mean().item())
    assert correct.item() == 1


class Imitation(Objective):
    """Another objective: the mean squared distance of the logits from fixed ones; it ignores the labels."""

    wanted = torch.tensor([3.0, -1.0])

    def loss(self, network: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        logits = network(batch.inputs)
        return (logits - self.wanted).square().mean(), torch.zeros((), dtype=torch.long)


def test_trainer_minimises_the_loss_of_another_objective():
    run = trainer(recipe(epochs=8.0, lr=0.05), objective=Imitation())
    records = list(run.epochs())
    assert records[-1].batch_loss < 0.1 * records[0].batch_loss
    assert all(record.batch_accuracy == 0 for record in records)
    logits = run.network(run.batches.sample(10, 10 * 10 * 10))
    assert torch.allclose(logits, Imitation.wanted.expand_as(logits), atol=0.5)
