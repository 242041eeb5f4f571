"""Every way of tuning a BERT for texts: what changes, merging, and resuming."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from darkroom.core.arrays import Augmentation, Manifest, Split
from darkroom.core.errors import DarkroomError
from darkroom.models.registry import build
from darkroom.train import adapters
from darkroom.train.config import LoraConfig
from darkroom.train.head import HeadTrainer
from darkroom.train.objective import Supervised
from darkroom.train.trainer import Trainer
from tests import packs
from tests.trainings import CPU, recipe, same

LENGTH, VOCABULARY = 9, 30
BERT = {"architecture": "L-1_H-16_A-2", "dropout": 0.1}
LORA = LoraConfig(rank=2, alpha=4.0, dropout=0.0, targets="auto")


def split(count: int, seed: int) -> Split:
    """Sequences of random tokens and lengths; the class is whether token 1 or token 2 is among them."""
    random = np.random.default_rng(seed)
    labels = random.integers(2, size=count)
    inputs = random.integers(3, VOCABULARY, (count, LENGTH)).astype(np.int32)
    inputs[np.arange(LENGTH) >= random.integers(2, LENGTH + 1, count)[:, None]] = 0
    inputs[:, 0] = labels + 1
    return Split(inputs, labels, np.array([f"{seed}/{number}" for number in range(count)]))


def manifest() -> Manifest:
    return Manifest(
        dataset="toy",
        title="Toy",
        licence="CC0",
        classes=("one", "two"),
        shape=(LENGTH, VOCABULARY),
        mean=(),
        std=(),
        counts={"train": 128, "val": 64, "test": 0},
        augmentation=Augmentation(flip=False, shift=0),
        sha256="0" * 64,
        **packs.AS_IS,
        kind="text",
    )


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("bert", BERT, (LENGTH, VOCABULARY), 2)


def trainer(tune: str, **changes: object) -> Trainer:
    settings = recipe(tune=tune, lora=LORA, epochs=4.0, checkpoint_steps=1, **changes)
    arguments = network(), Supervised(0.0), split(128, 1), split(64, 2), manifest(), settings, 0, CPU
    if tune == "head":
        return HeadTrainer(*arguments, {"family": "bert", "arguments": BERT})
    return Trainer(*arguments, "fp32", False)


def test_the_mfu_counts_no_padding(monkeypatch: pytest.MonkeyPatch):
    run = trainer("all", batch_size=32)
    lengths = (split(128, 1).inputs != 0).sum(1)
    assert run.batches.mean_shape == (round(lengths.mean()), VOCABULARY) < (LENGTH, VOCABULARY)
    counted = []
    monkeypatch.setattr("darkroom.train.flops.count", lambda network, shape: counted.append(shape) or (1, 2))
    list(run.epochs())
    run.costs()
    assert counted == [run.batches.mean_shape]


def answers(of: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return of.eval()(torch.from_numpy(split(20, 3).inputs).long())


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("tune", ["lora", "adalora"])
def test_adapters_sit_on_attention_and_mlps_and_merge(tune: str):
    run = trainer(tune)
    layers = adapters.targets(network(), (LENGTH, VOCABULARY), LORA)
    ends = ("self.query", "self.key", "self.value", "attention.output.dense", "intermediate.dense", "output.dense")
    assert len(layers) == 6 and all(name.endswith(ends) for name in layers)
    list(run.epochs())
    trained, ordinary = answers(run.network), network()
    ordinary.load_state_dict(run.whole.state_dict())
    assert not torch.allclose(answers(network()), trained, atol=1e-3)
    assert torch.allclose(answers(ordinary), trained, atol=1e-4)


@pytest.mark.parametrize("tune", ["all", "head", "lora", "adalora"])
def test_only_what_is_tuned_changes_and_learns(tune: str):
    run = trainer(tune)
    records = list(run.epochs())
    assert records[-1].val_loss < records[0].val_loss
    before, after = network().state_dict(), run.whole.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    embeddings = {name for name in changed if "embeddings" in name}
    assert {"head.weight", "head.bias"} <= changed and bool(embeddings) == (tune == "all")
    assert (changed == {"head.weight", "head.bias"}) == (tune == "head")
    if tune in ("lora", "adalora"):
        assert all(name.endswith("weight") and "LayerNorm" not in name for name in changed - {"head.bias"})


@pytest.mark.parametrize("tune", ["all", "head", "lora", "adalora"])
def test_a_resumed_training_has_the_same_bits(tune: str):
    whole, states, calls = trainer(tune), [], iter(range(1, 100))

    def save() -> None:
        if next(calls) == 7:
            tensors, values = whole.state()
            states.append(({name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(values))))

    list(whole.epochs(save))
    resumed = trainer(tune)
    resumed.restore(*states[0])
    list(resumed.epochs())
    assert same(whole.whole.state_dict(), resumed.whole.state_dict())
    assert whole.files == resumed.files


def test_targets_that_match_nothing_are_an_error():
    chosen = LORA.model_copy(update={"targets": "nothing"})
    with pytest.raises(DarkroomError, match="matches no layer"):
        adapters.targets(network(), (LENGTH, VOCABULARY), chosen)
