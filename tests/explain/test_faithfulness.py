import numpy as np
import pytest

from darkroom.explain import faithfulness
from darkroom.explain.budget import FINEST, Detail
from tests.explain.toys import UNSCALED, Spot, noise, pooled, spots

STEPS = FINEST.curve_steps


def test_a_perfect_order_changes_the_prediction_at_once():
    images = spots()
    perfect = images[..., 0].astype(np.float32)
    maps = {"perfect": perfect, "worst": -perfect}
    curves = faithfulness.measure(Spot(), images, np.array([1, 1]), maps, *UNSCALED, seed=0)
    assert list(curves) == ["perfect", "worst", "random"]
    deletion, insertion = curves["perfect"]
    np.testing.assert_allclose(deletion, [[1] + [0] * STEPS] * 2, atol=1e-9)
    np.testing.assert_allclose(insertion, [[0] + [1] * STEPS] * 2, atol=1e-9)
    perfect, worst, random = faithfulness.areas(curves).values()
    np.testing.assert_allclose(perfect, np.repeat([[0.5 / STEPS], [1 - 0.5 / STEPS]], 2, 1))
    np.testing.assert_allclose(worst, np.repeat([[1 - 0.5 / STEPS], [0.5 / STEPS]], 2, 1))
    assert (perfect[0] < random[0]).all() and (random[0] < worst[0]).all()


def test_the_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    maps = {"a": np.random.default_rng(1).normal(size=(5, 14, 14))}
    arguments = pooled(), noise(5), np.array([0, 1, 0, 1, 1]), maps, *UNSCALED
    whole = faithfulness.measure(*arguments, seed=3)
    monkeypatch.setattr(faithfulness, "_BATCH", 2)
    for name, values in faithfulness.measure(*arguments, seed=3).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-5)


def test_equal_pixels_are_in_a_random_order_by_the_seed():
    """The spot is as likely to be early as late, wherever it is: the map of zeros has no order of its own."""
    images, targets = np.repeat(spots()[:1], 300, 0), np.ones(300, np.int64)
    maps = {"constant": np.zeros((300, 14, 14), np.float32), "signs": np.full((300, 14, 14), -0.0, np.float32)}
    maps["signs"][:, ::2] = 0.0  # negative zeros are not another value
    curves, again, other = (faithfulness.measure(Spot(), images, targets, maps, *UNSCALED, seed) for seed in (0, 0, 1))
    for name, found in faithfulness.areas(curves).items():
        assert np.array_equal(curves[name], again[name]) and not np.array_equal(curves[name], other[name])
        deletion, insertion = found  # each uniform over the steps
        np.testing.assert_allclose(deletion + insertion, 1, atol=1e-6)
        assert insertion.mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / 300))
        assert len(np.unique(insertion.round(6))) == STEPS
    assert not np.array_equal(curves["constant"], curves["random"])


def test_pixels_of_equal_value_follow_those_of_higher_value():
    """With the spot first or last in a map that is constant elsewhere, no random order can move it."""
    first = np.zeros((2, 14, 14), np.float32)
    first[:, 5, 2] = 1e-30
    found = faithfulness.measure(Spot(), spots(), np.array([1, 1]), {"first": first}, *UNSCALED, seed=0)
    np.testing.assert_allclose(found["first"][1], [[0] + [1] * STEPS] * 2, atol=1e-9)


def test_table_by_hand():
    deletion = np.linspace(1, 0, STEPS + 1) + np.array([[0.1], [-0.1], [0], [0]])
    curves = {"a": np.stack([deletion, np.ones((4, STEPS + 1))])}
    table = faithfulness.table(curves)
    assert list(table.columns) == [
        "method", "fraction", "deletion", "deletion_low", "deletion_high", "insertion", "insertion_low",
        "insertion_high",
    ]  # fmt: skip
    assert len(table) == STEPS + 1 and table["fraction"].iloc[[0, -1]].tolist() == [0, 1]
    np.testing.assert_allclose(table["deletion"], np.linspace(1, 0, STEPS + 1), atol=1e-12)
    assert (table["deletion_low"] < table["deletion"]).all() and (table["deletion_high"] > table["deletion"]).all()
    assert (table[["insertion", "insertion_low", "insertion_high"]] == 1).all(axis=None)
    of_one_group = faithfulness.table(curves, np.array(["g"] * 4))
    assert of_one_group[["deletion_low", "insertion_high"]].isna().all(axis=None)  # nothing is known


def test_the_sample_is_random_without_repetition_and_by_the_seed():
    sample = faithfulness.sample(1000, 200, 0)
    assert len(np.unique(sample)) == 200 and (np.diff(sample) > 0).all() and set(sample) <= set(range(1000))
    assert np.array_equal(sample, faithfulness.sample(1000, 200, 0))
    assert not np.array_equal(sample, faithfulness.sample(1000, 200, 1))
    assert faithfulness.sample(150, 200, 0).tolist() == [*range(150)]


def test_coarser_curves_have_fewer_points():
    images, coarse = spots(), Detail(gradient_steps=4, windows_per_side=4, curve_steps=5)
    perfect = {"perfect": images[..., 0].astype(np.float32)}
    curves = faithfulness.measure(Spot(), images, np.array([1, 1]), perfect, *UNSCALED, seed=0, detail=coarse)
    np.testing.assert_allclose(curves["perfect"][1], [[0, 1, 1, 1, 1, 1]] * 2, atol=1e-9)
    np.testing.assert_allclose(faithfulness.areas(curves)["perfect"], [[0.1] * 2, [0.9] * 2])
    np.testing.assert_allclose(faithfulness.table(curves)["fraction"], np.tile(np.arange(6) / 5, 2))
