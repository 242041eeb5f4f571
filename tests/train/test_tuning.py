import pytest
import torch
from torch import nn

from darkroom.train import tuning
from tests.networks import small
from tests.trainings import recipe, same, trained, trainer

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@pytest.mark.parametrize("tune", ["all", "lora", "adalora"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_frozen_backbone_gets_no_gradients_and_does_not_change(tune: str, optimizer: str):
    settings = recipe(tune=tune, optimizer=optimizer, epochs=1.0, freeze_epochs=0.5, checkpoint_steps=1)
    run = trainer(settings, "wide_resnet")
    weights = dict(run.network.named_parameters())
    changed = []

    def save() -> None:
        changed.append({name for name, weight in weights.items() if not torch.equal(weight, before[name])})
        before.update({name: weight.detach().clone() for name, weight in weights.items()})

    before = {name: weight.detach().clone() for name, weight in weights.items()}
    (record,) = run.epochs(save)
    assert all(step == {"head.weight", "head.bias"} for step in changed[:4])
    assert all(len(step) > 2 for step in changed[4:])
    assert "head" in record.layers
    assert run.summary()["trainable_parameters"] == sum(weight.numel() for weight in run.optimisers.parameters)


def test_only_the_last_layer_has_optimiser_state_while_the_rest_is_frozen():
    run = trainer(recipe(epochs=1.0, freeze_epochs=1.0), "wide_resnet")
    list(run.epochs())
    head = sum(weight.numel() for weight in run.network.head.parameters())
    assert run.summary()["optimizer_bytes"] == 2 * 4 * head + 2 * 4  # two moments, and the steps of two parameters


def test_frozen_layers_are_not_reported_as_vanishing():
    run = trainer(recipe(epochs=1.0, freeze_epochs=0.5), "wide_resnet")
    (record,) = run.epochs()
    assert record.layers.keys() == {"head"}  # the first step is measured


@pytest.mark.parametrize("after", [2, 4, 6])
def test_a_training_resumed_in_or_after_the_frozen_steps_has_the_same_bits(after: int):
    settings = recipe(epochs=1.0, freeze_epochs=0.5, checkpoint_steps=1, optimizer="muon")
    whole, states = trainer(settings, "resnet"), []

    def save() -> None:
        tensors, values = whole.state()
        states.append(({name: tensor.clone() for name, tensor in tensors.items()}, values))

    list(whole.epochs(save))
    resumed = trainer(settings, "resnet")
    resumed.restore(*states[after - 1])
    list(resumed.epochs())
    assert same(whole.network.state_dict(), resumed.network.state_dict())


def test_frozen_batch_norms_keep_their_statistics_but_learn():
    settings = recipe(batch_norm="frozen", epochs=1.0)
    network = small("resnet", (10, 10, 1), 2)
    before, after = network.state_dict(), trained(settings, name="resnet")
    statistics = [name for name in before if "running" in name or "tracked" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    norms = [name for name, layer in network.named_modules() if isinstance(layer, BATCH_NORMS)]
    assert all(not torch.equal(before[f"{name}.weight"], after[f"{name}.weight"]) for name in norms)


def test_a_resumed_epoch_keeps_batch_norms_frozen():
    found = tuning.build(small("resnet", (8, 8, 1)), recipe(batch_norm="frozen"), (8, 8, 1), 8, 8, 0)
    for _ in range(2):
        found.train()
        layers = list(found.network.modules())
        assert all(layer.training != isinstance(layer, BATCH_NORMS) for layer in layers)
        found.network.eval()


def test_with_the_defaults_the_network_itself_is_trained():
    network = small("cnn", (10, 10, 1))
    found = tuning.build(network, recipe(), (10, 10, 1), 8, 8, 0)
    assert found.network is found.ordinary is network
    assert found.merged(network.state_dict()).keys() == network.state_dict().keys()
    assert found.files({}) == {}
