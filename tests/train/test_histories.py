"""Learning from histories: the targets, both losses, resuming, processes, and which weights are kept."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from darkroom.core import arrays
from darkroom.core.arrays import Split
from darkroom.core.errors import DarkroomError
from darkroom.models.histories import HistoryNetwork
from darkroom.models.registry import build
from darkroom.models.sequences import PADDING
from darkroom.train import flops, histories, launch, measuring, processes, records
from darkroom.train.objective import Batch
from darkroom.train.processes import ALONE, Processes
from darkroom.train.trainer import Trainer
from tests import histories as toys
from tests.trainings import CPU, MODEL, recipe, same

ROWS = torch.tensor([[3, 1, 4, 0], [2, 0, 0, 0], [1, 2, 3, 4]])
LABELS = torch.tensor([0, 4, 2])


def network(features: int = 0, **changes: object) -> HistoryNetwork:
    torch.manual_seed(0)
    found = build("sasrec", toys.ARGUMENTS["sasrec"] | changes, (4, 6, features), 5)
    torch.nn.init.normal_(found.head.bias)
    if features:
        found.fit_items(np.random.default_rng(0).random((5, features), np.float32))
    return found


def expected(of: HistoryNetwork, rows: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """The sum of the losses, one prefix of a history at a time."""
    total = torch.zeros(())
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        seen = [token for token in row if token != PADDING]
        for end in range(1, len(seen) + 1):
            wanted = seen[end] - 1 if end < len(seen) else label
            total = total + cross_entropy(
                of(torch.tensor([seen[:end]])), torch.tensor([wanted]), label_smoothing=smoothing
            )
    return total


def test_each_position_predicts_the_next_item_and_the_last_one_the_label():
    wanted = histories.following(ROWS, LABELS)
    assert [row[: (given != 0).sum()] for row, given in zip(wanted.tolist(), ROWS, strict=True)] == [
        [0, 3, 0], [4], [1, 2, 3, 2]
    ]  # fmt: skip


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("features", [0, 3])
def test_the_loss_and_its_gradient_are_those_of_each_prefix(smoothing: float, features: int, monkeypatch):
    monkeypatch.setattr(histories, "BLOCK", 10)  # 2 positions at a time
    mine, other = network(features), network(features)
    loss, correct = histories.NextItems(8 / 3, smoothing).loss(mine, Batch(ROWS, LABELS))
    loss.backward()
    plain = expected(other, ROWS, LABELS, smoothing) / 8
    plain.backward()
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert correct.item() == (other(ROWS).argmax(1) == LABELS).sum()
    for one, two in zip(mine.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-5)


def test_the_gradient_does_not_depend_on_how_a_batch_is_split():
    whole, parted = network(), network()
    objective = histories.NextItems(2.0, 0.0)
    objective.loss(whole, Batch(ROWS, LABELS))[0].backward()
    for part in Batch(ROWS, LABELS).split(2):
        (objective.loss(parted, part)[0] * len(part.inputs) / len(ROWS)).backward()
    for one, two in zip(whole.parameters(), parted.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-6)


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=6), st.data())
def test_the_sampled_sum_of_exponentials_is_that_of_all_items_on_average(logits: list[float], data: st.DataObject):
    count = len(logits)
    weights = data.draw(st.lists(st.floats(0.1, 1), min_size=count, max_size=count))
    frequencies = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    scores, label = torch.tensor(logits, dtype=torch.float64), data.draw(st.integers(0, count - 1))
    total = 0.0
    for drawn in range(count):  # every sample of one item, with its probability
        others = torch.tensor([drawn])
        loss = histories.sampled_loss(
            scores[label][None], scores[others][None], frequencies[others].log(), others[None] == label
        )
        total += frequencies[drawn].item() * torch.exp(loss[0] + scores[label]).item()
    assert total == pytest.approx(scores.exp().sum().item())


def test_the_sampled_loss_nears_the_whole_one_with_many_samples():
    of = network()
    whole, _ = histories.NextItems(1.0, 0.0).loss(of, Batch(ROWS, LABELS))
    torch.manual_seed(1)
    sampled, _ = histories.NextItems(1.0, 0.0, torch.tensor([0.1, 0.3, 0.2, 0.2, 0.2]), 20_000).loss(
        of, Batch(ROWS, LABELS)
    )
    assert sampled.item() == pytest.approx(whole.item(), rel=0.02)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    toys.make(tmp_path, features=2)
    return tmp_path


def trainer(name: str = "sasrec", group: Processes = ALONE, **changes: object) -> Trainer:
    settings = recipe(**{"epochs": 4.0, "checkpoint_steps": 1, "batch_size": 4, **changes})
    manifest = arrays.read_manifest("data/arrays")
    train, val = (arrays.read_split("data/arrays", part) for part in ("train", "val"))
    torch.manual_seed(0)
    of = build(name, toys.ARGUMENTS[name] | {"dropout": 0.2}, manifest.shape, len(manifest.classes))
    histories.prepare(of, manifest, train)
    objective = histories.objective(settings, manifest, train, CPU)
    return Trainer(of, objective, train, val, manifest, settings, 0, CPU, "fp32", False, group)


def train_in_parts() -> dict:
    with processes.join(CPU) as group:
        run = trainer(sampled_items=3, group=group)
        list(run.epochs())
        save_file(run.network.state_dict(), f"weights {group.rank}")
    return {}


@pytest.mark.parametrize("sampled", [0, 3])
@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_a_training_learns_and_resumes_with_the_same_bits(project: Path, name: str, sampled: int):
    whole, states, calls = trainer(name, sampled_items=sampled), [], iter(range(1, 100))

    def save() -> None:
        if next(calls) == 7:
            tensors, values = whole.state()
            states.append(({name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(values))))

    found = list(whole.epochs(save))
    resumed = trainer(name, sampled_items=sampled)
    resumed.restore(*states[0])
    list(resumed.epochs())
    assert same(whole.network.state_dict(), resumed.network.state_dict())
    assert found[-1].val_loss < found[0].val_loss and whole.network.embedding.features.any()


def test_two_processes_give_the_same_bits_as_two_accumulated_parts(project: Path):
    launch.start(train_in_parts, 2)
    alone = trainer(sampled_items=3, grad_accumulation=2)
    list(alone.epochs())
    for rank in range(2):
        assert same(load_file(f"weights {rank}"), alone.network.state_dict())


def test_a_part_of_a_batch_draws_its_own_items(project: Path):
    one, two = trainer(sampled_items=3), trainer(sampled_items=3, grad_accumulation=2)
    list(one.epochs()), list(two.epochs())
    assert not same(one.network.state_dict(), two.network.state_dict())


def test_the_lowest_loss_decides_which_weights_are_kept(project: Path):
    run = trainer(keep_weights="best", early_stopping=2, epochs=60.0, lr=0.1)
    found = list(run.epochs())
    best = min(found, key=lambda record: record.val_loss)
    assert records.best(found, by_loss=True) is best
    assert run.summary()["val_loss"] == best.val_loss and len(found) == best.epoch + 2 < 60


def test_a_split_is_measured_in_blocks(monkeypatch: pytest.MonkeyPatch):
    logits, labels = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 5
    sizes = []

    def of(block: np.ndarray) -> torch.Tensor:
        sizes.append(len(block))
        return logits[block]

    monkeypatch.setattr(measuring, "MAX_LOGITS", 10)
    loss, accuracy = measuring.ranked(of, labels, 5, 500, ALONE)
    assert sizes == [2, 2, 2, 1]
    assert loss == pytest.approx(cross_entropy(logits, labels).item())
    assert accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())


def test_a_sharded_training_of_histories_is_an_error(project: Path):
    with pytest.raises(DarkroomError, match=r"train\.parallel = 'sharded' does not go with histories"):
        trainer(parallel="sharded")


def test_with_fewer_items_than_are_sampled_all_are_compared(project: Path):
    assert trainer(sampled_items=8).objective.sampled == 8
    assert trainer(sampled_items=9).objective.sampled == 0


def test_the_flops_count_the_output_layer_once():
    forward, _ = flops.count(network(), (4, 6, 0))
    more, _ = flops.count(build("sasrec", toys.ARGUMENTS["sasrec"], (4, 1006, 0), 1005), (4, 1006, 0))
    assert more - forward == 2 * 8 * 1000


def test_biases_start_from_the_popularity_in_training(project: Path):
    run = trainer()
    train = run.batches.train
    counts = 1 + histories.occurrences(train, 9)
    assert counts.sum() == 9 + (train.inputs != PADDING).sum() + len(train)
    assert run.network.head.bias.softmax(0).tolist() == pytest.approx((counts / counts.sum()).tolist(), abs=1e-6)


def test_a_new_item_is_recommended_to_those_who_like_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    random, tokens = np.random.default_rng(0), 10  # odd and even items; 9 and 10 are new
    rows = np.array([random.permutation(np.arange(1 + n % 2, 9, 2)) for n in range(60)])
    split = Split(rows[:, :3].astype(np.int32), rows[:, 3] - 1, np.array([str(n) for n in range(60)]))
    manifest = replace(toys.write(tmp_path / "arrays"), classes=tuple("abcdefghij"), shape=(3, tokens + 1, 2))
    torch.manual_seed(0)
    of = build("sasrec", toys.ARGUMENTS["sasrec"], manifest.shape, tokens)
    of.fit_items(np.eye(2, dtype=np.float32)[np.arange(tokens) % 2])
    of.fit_popularity(histories.occurrences(split, tokens))
    settings = recipe(epochs=8.0, batch_size=10, lr=0.02)
    objective = histories.objective(settings, manifest, split, CPU)
    list(Trainer(of, objective, split, split, manifest, settings, 0, CPU, "fp32", False).epochs())
    logits = of.eval()(torch.from_numpy(split.inputs).long())
    likes_even_classes = torch.from_numpy(split.labels % 2 == 0)
    assert ((logits[:, 8] > logits[:, 9]) == likes_even_classes).float().mean() > 0.9


def test_params_of_the_networks_are_those_of_their_classes():
    for name in ("sasrec", "gru4rec"):
        assert set(getattr(MODEL, name).model_dump()) == set(toys.ARGUMENTS[name])
