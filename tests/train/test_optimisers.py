import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from darkroom.train import optimisers
from darkroom.train.config import TrainConfig
from tests.networks import small
from tests.trainings import TRAIN, trainer
from tests.trainings import recipe as training_recipe


def recipe(**changes: object) -> TrainConfig:
    return TRAIN.model_copy(update=changes)


def scaler() -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=False)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000), st.sampled_from([torch.float32, torch.bfloat16]))
def test_orthogonalise_brings_all_singular_values_near_one(rows: int, columns: int, seed: int, dtype: torch.dtype):
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=torch.Generator().manual_seed(seed)))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=torch.Generator().manual_seed(seed + 1)))
    count = min(rows, columns)
    matrix = left[:, :count] @ torch.diag(torch.linspace(1, 3, count)) @ right[:count]
    values = torch.linalg.svdvals(optimisers.orthogonalise(matrix, dtype))
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize(("rows", "columns"), [(16, 144), (144, 16), (12, 12)])
@pytest.mark.parametrize("rank", [1, 3, 12])
def test_orthogonalise_in_float32_is_the_iteration_on_the_whole_matrix(rows: int, columns: int, rank: int):
    """Also for a matrix whose singular values differ by 10 powers of ten, or that has few."""
    random = torch.Generator().manual_seed(0)
    scales = torch.logspace(0, -10, rows, dtype=torch.float64)[:, None]
    matrix = scales * (torch.randn(rows, rank, generator=random) @ torch.randn(rank, columns, generator=random))
    a, b, c = optimisers.NEWTON_SCHULZ
    expected = matrix / matrix.norm()
    for _ in range(5):
        gram = expected @ expected.T
        expected = a * expected + (b * gram + c * gram @ gram) @ expected
    found = optimisers.orthogonalise(matrix.float(), torch.float32)
    assert (found - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrices_of_one_shape_are_orthogonalised_together_as_each_alone(dtype: torch.dtype):
    shapes, tolerance = [(4, 9), (9, 4), (4, 9), (5, 5), (9, 4)], 1e-4 if dtype == torch.float32 else 0.02
    matrices = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed, shape in enumerate(shapes)]
    together = optimisers.orthogonalise_all(*matrices, dtype=dtype)
    for matrix, found in zip(matrices, together, strict=True):
        assert torch.allclose(found, optimisers.orthogonalise(matrix, dtype), atol=tolerance)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_training_orthogonalises_in_its_precision(precision: str, dtype: torch.dtype):
    run = trainer(training_recipe(optimizer="muon"), precision=precision)
    assert run.optimisers.members[0].dtype == dtype


def test_muon_steps_against_the_gradient_with_the_stated_size():
    weight = nn.Parameter(torch.zeros(8, 8))
    weight.grad = torch.eye(8)
    optimisers.Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.0).step()
    assert torch.allclose(weight.diagonal(), torch.full((8,), -0.1 * 0.2 * math.sqrt(8)), rtol=0.35)
    assert torch.allclose(weight - weight.diagonal().diag(), torch.zeros(8, 8), atol=1e-3)


@pytest.mark.parametrize("model", ["resnet", "lstm", "vit"])
@pytest.mark.parametrize(("name", "factor"), [("sgd", 1 - 0.1 * 0.5 * 1.9), ("adamw", 0.95), ("muon", 0.95)])
def test_weights_are_decayed_but_not_biases_norms_and_positions(name: str, factor: float, model: str):
    """Decoupled; SGD adds it to the gradient, which Nesterov momentum of 0.9 makes 1.9 times as large."""
    network = small(model, (8, 8, 1))
    nn.init.ones_(network.head.bias)
    before = {key: value.clone() for key, value in network.named_parameters()}
    stepped = optimisers.Optimisers(network, recipe(optimizer=name, weight_decay=0.5))
    for parameter in stepped.parameters:
        parameter.grad = torch.zeros_like(parameter)
    stepped.step(0.1, scaler())
    for key, value in network.named_parameters():
        if not value.requires_grad or value.ndim < 2 or key == "positions":
            assert torch.equal(value, before[key]), key
        else:
            assert torch.allclose(value, before[key] * factor, atol=1e-6), key


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_every_weight_but_the_stem_is_trained(name: str):
    network = small("sprint", (8, 8, 1))
    network.fit_stem(torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    before = {key: value.clone() for key, value in network.named_parameters()}
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    nn.functional.cross_entropy(network(images), torch.arange(16) % 3).backward()
    stepped = optimisers.Optimisers(network, recipe(optimizer=name))
    assert stepped.step(0.1, scaler())
    stepped.clear_gradients()
    unchanged = {key for key, value in network.named_parameters() if torch.equal(value, before[key])}
    assert unchanged == {"stem.weight"}
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_step_with_an_overflow_is_skipped_by_all_members(clip: float):
    network = small("sprint", (8, 8, 1))
    stepped, fp16 = optimisers.Optimisers(network, recipe()), torch.amp.GradScaler("cpu", init_scale=8.0)
    assert len(stepped.members) == 2
    before = {key: value.clone() for key, value in network.named_parameters()}
    for overflowed in (network.head.weight, network.features[2][0].weight):
        fp16.scale(network(torch.randn(4, 1, 8, 8)).sum()).backward()
        overflowed.grad.view(-1)[0] = float("inf")
        for member in stepped.members:
            fp16.unscale_(member)
        if clip:
            nn.utils.clip_grad_norm_(stepped.parameters, clip)
        stepped.step(0.1, fp16)
        stepped.clear_gradients()
        assert all(torch.equal(value, before[key]) for key, value in network.named_parameters())
    assert fp16.get_scale() == 2.0  # halved twice


def test_schedules_have_their_stated_values():
    rates = {
        name: optimisers.schedule(recipe(schedule=name, lr=1.0, epochs=2.0, warmup_fraction=0.2), 10)
        for name in ("constant", "cosine", "linear")
    }
    for rate in rates.values():
        assert [rate(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates["constant"](19) == 1.0
    assert rates["linear"](12) == 0.5
    assert rates["linear"](19) == pytest.approx(1 / 16)
    assert rates["cosine"](12) == pytest.approx(0.5)
    assert rates["cosine"](8) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_without_warmup_the_rate_starts_at_its_peak():
    assert optimisers.schedule(recipe(lr=0.3, warmup_fraction=0.0), 10)(0) == 0.3
