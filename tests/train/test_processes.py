"""Several processes that train one network. Each start of two takes some seconds, so one start tries many things."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.core.errors import DarkroomError
from darkroom.train import launch, processes, sharding
from darkroom.train.processes import Processes
from darkroom.train.setup import build_trainer
from darkroom.train.trainer import Trainer
from tests.trainings import CPU, MODEL, NO_AUGMENTATION, TRAIN, manifest, recipe, same, split, trainer

MIXED = NO_AUGMENTATION.model_copy(update={"flip": "random", "random_erasing": 0.5, "mixup": 0.4, "cutmix": 1.0})
# 250 examples: 6 batches of 31 and 2 of 32, so that the parts of a batch differ in size
SAME_BITS = {
    "dropout and mixing": ({"augment": MIXED, "label_smoothing": 0.1}, {"name": "sprint", "dropout": 0.3}),
    "moving average": ({"ema_decay": 0.9, "keep_weights": "best"}, {"name": "resnet"}),
    "stops early": ({"early_stopping": 1, "epochs": 4.0, "optimizer": "muon", "grad_clip_norm": 0.5}, {"name": "vit"}),
    "adapters": (
        {"tune": "adalora", "lora": TRAIN.lora.model_copy(update={"rank": 1}), "freeze_epochs": 0.5},
        {"name": "resnet"},
    ),
    "freematch": (
        {"semi_supervised": TRAIN.semi_supervised.model_copy(update={"method": "freematch"}), "augment": MIXED},
        {"name": "sprint"},
    ),
    "bf16": ({"optimizer": "muon", "min_steps": 0}, {"name": "resnet", "precision": "bf16"}),
}
INTERRUPTED = recipe(checkpoint_steps=3)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def outcome(run: Trainer) -> dict[str, torch.Tensor]:
    """The weights after the rest of the training, and the measurements of all epochs."""
    records = list(run.epochs())
    measured = torch.tensor([list(record.curves().values()) for record in records], dtype=torch.float64)
    layers = torch.tensor([layer for record in records for layer in record.layers.values()], dtype=torch.float64)
    return {**run.whole.state_dict(), "measured": measured, "layers": layers}


def write(name: str, tensors: dict[str, torch.Tensor]) -> None:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, name)


def train_in_parts() -> dict:
    """Write the outcome of each training of SAME_BITS, and a state in the second epoch of another training."""
    with processes.join(CPU) as group:
        for name, (changes, arguments) in SAME_BITS.items():
            found = outcome(trainer(recipe(**changes), examples=250, processes=group, **arguments))
            write(f"{name} {group.rank}", found)
        run, states = trainer(INTERRUPTED, "sprint", processes=group), []

        def save() -> None:
            states.append(run.state())
            if len(states) == 4 and group.is_first:
                write("state", states[-1][0])

        list(run.epochs(save))
        other = MODEL.model_copy(update={"name": "resnet" if group.rank else "cnn"})
        data = split(32, 0)
        with pytest.raises(DarkroomError, match=r"1 process \(rank 1\) with other data, parameters"):
            build_trainer(0, other, recipe(), manifest(data), data, data, group)
        return {"rank": group.rank, "count": group.count, "values": states[3][1]}


def test_two_processes_give_the_same_bits_as_two_accumulated_parts():
    found = launch.start(train_in_parts, 2)
    assert (found["rank"], found["count"]) == (0, 2)
    for name, (changes, arguments) in SAME_BITS.items():
        alone = outcome(trainer(recipe(grad_accumulation=2, **changes), examples=250, **arguments))
        for rank in range(2):
            assert same(load_file(f"{name} {rank}"), alone), (name, rank)
    # A training that two processes began ends in one process as if this had trained all of it, in parts.
    resumed, alone = (trainer(INTERRUPTED.model_copy(update={"grad_accumulation": 2}), "sprint") for _ in range(2))
    resumed.restore(load_file("state"), found["values"])
    assert (len(resumed.records), resumed.step) == (1, 3)
    assert same(outcome(resumed), outcome(alone))


SHARDED = {
    "resnet": ({"optimizer": "adamw", "grad_clip_norm": 1.0, "ema_decay": 0.5}, {"name": "resnet"}),
    "vit": ({"optimizer": "muon"}, {"name": "vit"}),
    "lstm": ({"optimizer": "sgd", "grad_accumulation": 4}, {"name": "lstm"}),
}


def test_every_process_must_get_a_part_of_every_batch():
    trainer(recipe(batch_size=8), processes=Processes(0, 1))
    with pytest.raises(DarkroomError, match=r"train\.processes = 9: must be at most 8, .* raise train\.batch_size"):
        trainer(recipe(batch_size=8), processes=Processes(0, 9))


def held_bytes(run: Trainer) -> int:
    """The bytes of parameters and optimiser state that this process holds."""
    states = [entries for member in run.optimisers.members for entries in member.state.values()]
    tensors = [*run.network.parameters(), *(tensor for entries in states for tensor in entries.values())]
    own = [tensor.to_local() if sharding.is_sharded(tensor) else tensor for tensor in tensors]
    return sum(tensor.numel() * tensor.element_size() for tensor in own)


def train_sharded() -> dict:
    """Write the outcome of each training of SHARDED, and its state after one epoch; return the bytes held."""
    held = {}
    with processes.join(CPU) as group:
        for name, (changes, arguments) in SHARDED.items():
            run = trainer(recipe(parallel="sharded", **changes), processes=group, **arguments)
            for _ in run.epochs():
                break
            tensors, values = run.state()
            if group.is_first:
                write(f"{name} state", tensors)
            again = trainer(recipe(parallel="sharded", **changes), processes=group, **arguments)
            again.restore({key: tensor.clone() for key, tensor in tensors.items()}, values)
            list(run.epochs())
            list(again.epochs())
            held[name] = {"bytes": held_bytes(run), "values": values}
            if group.is_first:
                assert same(run.whole.state_dict(), again.whole.state_dict())
                assert run.summary()["flops_per_image"] > 0
                write(name, run.whole.state_dict())
    return held


def test_sharded_training_holds_half_of_the_weights_and_ends_as_another():
    found = launch.start(train_sharded, 2)
    for name, (changes, arguments) in SHARDED.items():
        alone = trainer(recipe(**{"grad_accumulation": 2, **changes}), **arguments)
        resumed = trainer(recipe(**{"grad_accumulation": 2, **changes}), **arguments)
        resumed.restore(load_file(f"{name} state"), found[name]["values"])
        for run in (alone, resumed):
            list(run.epochs())
            weights = {key: tensor.contiguous() for key, tensor in run.whole.state_dict().items()}
            torch.testing.assert_close(load_file(name), weights, rtol=0, atol=1e-5)
        assert found[name]["bytes"] <= 0.6 * held_bytes(alone), name
