import copy
import json

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load
from torch import Tensor, nn

from darkroom.core.errors import DarkroomError
from darkroom.models.registry import build
from darkroom.train import adapters, tuning
from darkroom.train.adapters import Adapters
from darkroom.train.config import LoraConfig, TrainConfig
from darkroom.train.optimisers import Optimisers
from darkroom.train.trainer import Trainer
from tests.networks import small
from tests.trainings import recipe, same, trained, trainer

SHAPE = (10, 10, 1)


def lora(tune: str = "lora", **changes: object) -> TrainConfig:
    """The recipe of tests with adapters of rank 2; `rank`, `alpha`, `dropout` and `targets` change these."""
    given = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": "auto"}
    chosen = LoraConfig(**given | {name: changes.pop(name) for name in given if name in changes})
    return recipe(tune=tune, lora=chosen, **changes)


def attached(network: nn.Module, settings: TrainConfig, steps: int = 40) -> Adapters:
    """Adapters of `network` whose matrices are noise."""
    found = tuning.build(network, settings, SHAPE, steps, 8, 0)
    with torch.no_grad():
        for name, parameter in found.network.named_parameters():
            if ".lora_" in name:
                parameter.normal_(0, 0.3)
    return found


def dense(name: str = "cnn") -> nn.Module:
    return small(name, SHAPE, 3)


def images(n: int = 5) -> Tensor:
    return torch.randn(n, 1, 10, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tune", ["lora", "adalora"])
@pytest.mark.parametrize("name", ["cnn", "sprint", "resnet", "wide_resnet", "vit", "timm", "torchvision"])
def test_the_merged_network_answers_as_pefts_own_forward_pass(name: str, tune: str):
    network = dense(name)
    before = network.eval()(images())
    found = attached(network, lora(tune, rank=1))
    with torch.no_grad():
        expected = found.network.eval()(images())
        network.load_state_dict(found.merged(found.network.state_dict()))
        merged = network.eval()(images())
    assert not torch.allclose(before, merged, atol=1e-5)
    assert torch.allclose(merged, expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    rank=st.integers(1, 12),
    alpha=st.floats(0.1, 100),
    tune=st.sampled_from(["lora", "adalora"]),
    kernel=st.sampled_from([1, 3]),
    seed=st.integers(0, 1000),
)
def test_merging_adds_the_scaled_product_for_every_rank_and_alpha(
    rank: int, alpha: float, tune: str, kernel: int, seed: int
):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, 3, kernel), nn.Flatten(), nn.LazyLinear(5), nn.Linear(5, 2))
    network(images())
    network.last_layer_name = "3"
    found = attached(network, lora(tune, rank=rank, alpha=alpha, targets="0|2"))
    merged = found.merged(found.network.state_dict())
    assert merged.keys() == network.state_dict().keys()
    for name in ("0", "2"):
        expected = network.get_submodule(name).weight + found.network.get_submodule(name).get_delta_weight("default")
        assert torch.allclose(merged[f"{name}.weight"], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(merged["3.weight"], network[3].weight)


@pytest.mark.parametrize("tune", ["lora", "adalora"])
def test_new_adapters_change_no_output(tune: str):
    network = dense()
    found = tuning.build(network, lora(tune), SHAPE, 40, 8, 0)
    assert torch.equal(network.eval()(images()), found.network.eval()(images()))
    assert same(found.merged(found.network.state_dict()), network.state_dict())


@pytest.mark.parametrize("tune", ["lora", "adalora"])
def test_only_the_adapters_the_last_layer_and_batch_norms_statistics_change(tune: str):
    run = trainer(lora(tune), "resnet")
    before = {name: tensor.clone() for name, tensor in run.network.state_dict().items()}
    list(run.epochs())
    changed = {name for name, tensor in run.network.state_dict().items() if not torch.equal(tensor, before[name])}
    kinds = {name.rsplit(".", 1)[1] if ".lora_" not in name else name.split(".lora_")[1][0] for name in changed}
    assert kinds == {*("ABE" if tune == "adalora" else "AB"), "weight", "bias", "running_mean", "running_var"} | {
        "num_batches_tracked"
    }
    assert {name for name in changed if name.endswith(("weight", "bias")) and ".lora_" not in name} == {
        "head.weight",
        "head.bias",
    }
    summary = run.summary()
    assert summary["parameters"] == sum(parameter.numel() for parameter in run.whole.parameters())
    assert summary["trainable_parameters"] < summary["parameters"] / 2


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.5}, {"grad_accumulation": 4}, {"optimizer": "muon"}])
@pytest.mark.parametrize("tune", ["lora", "adalora"])
def test_adapters_learn_and_end_in_an_ordinary_network(tune: str, changes: dict):
    run = trainer(lora(tune, epochs=4.0, keep_weights="best", lr=0.02, **changes))
    records = list(run.epochs())
    assert records[-1].val_loss < records[0].val_loss
    assert not any(record.layers.keys() - {"features.0.0", "hidden.1", "head"} for record in records)
    ordinary = small("cnn", SHAPE, 2)
    ordinary.load_state_dict(run.whole.state_dict())
    assert run.whole.state_dict().keys() == ordinary.state_dict().keys()
    kept = max(records, key=lambda record: (record.val_accuracy, -record.val_loss))
    loss, accuracy = run._measure(run.whole, lambda indices: run.val.inputs[indices], run.val.labels)
    assert (loss, accuracy) == pytest.approx((kept.val_loss, kept.val_accuracy), rel=1e-3)


@pytest.mark.parametrize("tune", ["lora", "adalora"])
def test_adapters_train_in_bf16(tune: str):
    weights = trained(lora(tune, epochs=1.0), precision="bf16", name="vit")
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.parametrize("after", [3, 12, 20, 31])
@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.5, "freeze_epochs": 0.5}])
@pytest.mark.parametrize("tune", ["lora", "adalora"])
def test_a_resumed_training_has_the_same_bits(tune: str, changes: dict, after: int):
    settings = lora(tune, epochs=4.0, checkpoint_steps=1, dropout=0.1, **changes)
    whole = trainer(settings)
    states, calls = [], iter(range(1, 100))

    def save() -> None:
        if next(calls) == after:
            tensors, values = whole.state()
            states.append(({name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(values))))

    list(whole.epochs(save))
    resumed = trainer(settings)
    resumed.restore(*states[0])
    list(resumed.epochs())
    assert same(whole.network.state_dict(), resumed.network.state_dict())
    assert same(whole.whole.state_dict(), resumed.whole.state_dict())
    assert whole.files == resumed.files


def test_adalora_ends_with_the_budget_of_ranks():
    run = trainer(lora("adalora", rank=2, epochs=4.0), "vit")
    list(run.epochs())
    kept = [tensor for name, tensor in run.network.state_dict().items() if ".lora_E." in name]
    assert all(len(tensor) == 3 for tensor in kept)
    assert sum(int((tensor != 0).sum()) for tensor in kept) == 2 * len(kept)
    assert run.tuning.config.rank_pattern is not None


def test_the_orthogonality_penalty_of_adalora_is_added_to_the_gradients():
    found = attached(dense(), lora("adalora", rank=2))
    matrices = {name: one for name, one in found.network.named_parameters() if ".lora_A." in name or ".lora_B." in name}
    for parameter in found.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    found.after_backward()
    grams = [one @ one.T if ".lora_A." in name else one.T @ one for name, one in matrices.items()]
    penalty = 0.5 * sum((gram - torch.eye(3)).norm() for gram in grams) / len(grams)
    for matrix, expected in zip(matrices.values(), torch.autograd.grad(penalty, list(matrices.values())), strict=True):
        assert torch.allclose(matrix.grad, expected, atol=1e-6)


@pytest.mark.parametrize("tune", ["lora", "adalora"])
def test_peft_loads_the_adapter_onto_the_weights_that_it_was_trained_on(tune: str, tmp_path):
    run = trainer(lora(tune, epochs=4.0, keep_weights="best"), "resnet")
    base = copy.deepcopy(run.whole)
    list(run.epochs())
    for name, content in run.files.items():
        (tmp_path / name).write_bytes(content)
    config = peft.PeftConfig.from_pretrained(tmp_path)
    loaded = peft.get_peft_model(base, config)
    found = peft.set_peft_model_state_dict(loaded, load((tmp_path / "adapter.safetensors").read_bytes()))
    assert not found.unexpected_keys
    with torch.no_grad():
        assert torch.allclose(loaded.eval()(images()), run.whole.eval()(images()), atol=1e-4)


def test_targets_of_a_transformer_are_the_projections_of_attention_and_mlps():
    network = small("vit", SHAPE, 3)
    block = [f"encoder.1.{layer}" for layer in ("attention.1.inputs", "attention.1.output", "mlp.1", "mlp.3")]
    assert adapters.targets(network, SHAPE, lora().lora) == block


def test_targets_of_a_network_of_pointwise_convolutions_leave_out_depthwise_ones():
    network = build("timm", {"architecture": "test_efficientnet"}, (32, 32, 3), 10)
    found = adapters.targets(network, (32, 32, 3), lora().lora)
    assert found
    assert all(network.get_submodule(name).kernel_size == (1, 1) for name in found)


def test_without_pointwise_convolutions_the_others_are_adapted():
    network = small("sprint", SHAPE, 3, channels=16)
    found = adapters.targets(network, SHAPE, lora().lora)
    assert len(found) == 3
    assert all(network.get_submodule(name).kernel_size == (3, 3) for name in found)


def test_multihead_attention_of_pytorch_is_left_out_but_not_its_mlp():
    network = small("torchvision", (16, 16, 1), 2, architecture="vit_b_16")
    found = adapters.targets(network, (16, 16, 1), lora().lora)
    assert found == [f"encoder.layers.encoder_layer_{block}.mlp.{layer}" for block in range(12) for layer in (0, 3)]


def test_layers_that_are_not_called_are_left_out():
    """BEiT multiplies by the weights of its projection without calling the layer."""
    network = small("timm", (32, 32, 3), architecture="beit_base_patch16_224")
    assert not any("qkv" in name for name in adapters.adaptable(network, (32, 32, 3)))


@pytest.mark.parametrize("targets", ["nothing", "head", "stem", "feature"])
def test_targets_that_match_no_layer_are_an_error_that_names_some(targets: str):
    """The last layer is trained in full, the stem of this network never; an expression must match a whole name."""
    with pytest.raises(DarkroomError, match=r"^train\.lora\.targets") as error:
        adapters.targets(small("sprint", SHAPE, 3), SHAPE, lora(targets=targets).lora)
    assert "(features.2.0, features.3.0, features.4.0)" in str(error.value)


@pytest.mark.parametrize("tune", ["lora", "adalora"])
def test_a_network_without_layers_for_adapters_is_an_error(tune: str):
    with pytest.raises(DarkroomError, match=r"^train\.lora\.rank = 2"):
        tuning.build(small("lstm", SHAPE, 3), lora(tune), SHAPE, 40, 8, 0)


def test_targets_that_are_no_regular_expression_are_an_error():
    with pytest.raises(ValueError, match="not a regular expression"):
        LoraConfig(rank=2, alpha=4.0, dropout=0.0, targets="(")


def test_the_memory_of_the_optimiser_is_that_of_the_adapters():
    sizes = {}
    for tune in ("all", "lora"):
        run = trainer(lora(tune, epochs=0.1, rank=1))
        assert isinstance(run, Trainer)
        list(run.epochs())
        summary = run.summary()
        sizes[tune] = summary["optimizer_bytes"], summary["trainable_parameters"]
    assert sizes["all"][1] == summary["parameters"]
    for size, count in sizes.values():
        assert 0 < size - 2 * 4 * count < 200  # two moments in float32, and the number of steps


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_by_default_few_parameters_of_a_network_for_photos_are_trained(optimizer: str):
    network = build("timm", {"architecture": "efficientnet_lite0"}, (64, 64, 3), 10)
    counts, sizes = [], []
    for tune in ("all", "lora"):
        found = tuning.build(copy.deepcopy(network), recipe(tune=tune), (64, 64, 3), 8, 8, 0)
        optimisers = Optimisers(found.network, recipe(optimizer=optimizer))
        for parameter in optimisers.parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimisers.step(0.1, torch.amp.GradScaler("cpu", enabled=False))
        counts.append(sum(parameter.numel() for parameter in optimisers.parameters))
        sizes.append(optimisers.bytes())
    assert counts[1] <= 0.05 * counts[0]
    assert sizes[1] <= 0.15 * sizes[0]
