import json

import numpy as np
import pytest

from darkroom.explain import sequences, tables, verdict
from darkroom.explain.attribution import METHODS

N = 200


def areas(**advantages: tuple[float, float]) -> dict[str, np.ndarray]:
    """Areas (2, N) by method: noise that all methods share, noise of their own, and advantages in both curves."""
    random = np.random.default_rng(0)
    shared, found = random.normal(0.5, 0.2, (2, N)), {}
    for method in (*METHODS, "random"):
        advantage = np.array(advantages.get(method, (0, 0))) * (-1, 1)
        found[method] = shared + random.normal(0, 0.1, (2, N)) + advantage[:, None]
    return found


def test_every_method_has_a_title():
    assert verdict.TITLES.keys() == METHODS.keys() | sequences.METHODS.keys() | {*tables.METHODS}


def test_a_comparison_is_paired_and_has_one_row_per_pair():
    found = verdict.compare(areas(occlusion=(0.1, 0.05)))
    assert len(found) == 2 * 6 and (found["low"] < found["advantage"]).all() and (found["p"] <= 1).all()
    row = found.set_index(["curve", "method", "other"]).loc[("deletion", "grad_cam", "occlusion")]
    assert row["advantage"] == pytest.approx(-0.1, abs=0.03) and row["high"] < 0 and row["p"] < 1e-6
    # Unpaired, the deviation of the difference would be 0.32 instead of 0.14
    assert row["high"] - row["low"] == pytest.approx(2 * 1.97 * 0.14 / np.sqrt(N), rel=0.15)


def test_a_method_is_named_if_it_beats_every_other():
    found = verdict.compare(areas(occlusion=(0.1, 0.1), grad_cam=(0.05, 0.1)))
    assert verdict.most_faithful(found) == {"deletion": "occlusion", "insertion": None}
    lines = verdict.statements(found)
    assert (
        lines[0]
        == "Deletion: occlusion is the most faithful; not shown to be better than a random order: integrated gradients."
    )
    assert lines[1].startswith(
        "Insertion: no method is better than all others; not shown to be better than a random order"
    )


def test_no_method_is_named_within_noise():
    found = verdict.compare(areas())
    assert verdict.most_faithful(found) == {"deletion": None, "insertion": None}
    for line in verdict.statements(found):
        assert line.endswith("not shown to be better than a random order: integrated gradients, Grad-CAM, occlusion.")


def test_a_method_that_is_worse_than_random_is_not_named():
    """The random order would be the most faithful."""
    found = verdict.compare(areas(random=(0.1, 0.1), occlusion=(0.05, 0.05)))
    assert verdict.most_faithful(found) == {"deletion": None, "insertion": None}
    for line in verdict.statements(found):
        assert line.endswith("all others; worse than a random order: integrated gradients, Grad-CAM, occlusion.")


def test_chance_alone_names_hardly_any_method():
    random, named = np.random.default_rng(1), 0
    for _ in range(50):
        same = {method: random.normal(0.5, 0.1, (2, 30)) for method in (*METHODS, "random")}
        named += any(verdict.most_faithful(verdict.compare(same)).values())
    assert named <= 2


def test_two_methods_are_compared_without_grad_cam():
    given = areas(integrated_gradients=(0.1, 0.1))
    del given["grad_cam"]
    found = verdict.compare(given)
    assert len(found) == 2 * 3
    assert verdict.most_faithful(found) == dict.fromkeys(("deletion", "insertion"), "integrated_gradients")
    assert "Grad-CAM" not in "".join(verdict.statements(found))


def test_groups_are_the_units():
    """Each image is there five times: nothing more is known than from one of each."""
    single = {name: values[:, :40] for name, values in areas(occlusion=(0.02, 0.02)).items()}
    repeated = {name: np.repeat(values, 5, axis=1) for name, values in single.items()}
    groups = np.repeat(np.arange(40).astype(str), 5)
    one, five, wrong = verdict.compare(single), verdict.compare(repeated, groups), verdict.compare(repeated)
    np.testing.assert_allclose(one["p"], five["p"], rtol=1e-9)
    assert (wrong["p"] < one["p"])[one["p"] < 0.9].all()
    assert (verdict.compare(single, np.full(40, "g"))["p"] == 1).all()  # one group shows nothing


def test_equal_methods_and_constant_differences():
    same = {method: np.full((2, 5), 0.5) for method in (*METHODS, "random")}
    assert (verdict.compare(same)["p"] == 1).all()
    same["occlusion"] = np.stack([np.full(5, 0.25), np.full(5, 0.75)])
    assert verdict.most_faithful(verdict.compare(same)) == {"deletion": "occlusion", "insertion": "occlusion"}


def test_summary():
    given = areas(occlusion=(0.1, 0.0))
    found = verdict.summary(given, verdict.compare(given), None)
    assert found["faithfulness_images"] == N
    assert found["most_faithful_deletion"] == "occlusion" and found["most_faithful_insertion"] is None
    for method in (*METHODS, "random"):
        for number, curve in enumerate(("deletion", "insertion")):
            name = f"{method}_{curve}"
            assert found[name] == pytest.approx(given[method][number].mean())
            assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]
    unknown = verdict.summary(given, verdict.compare(given), np.full(N, "g"))
    assert unknown["random_deletion_low"] is None and json.dumps(unknown, allow_nan=False)
