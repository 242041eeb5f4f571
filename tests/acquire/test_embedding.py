import tracemalloc

import numpy as np
import pytest

from darkroom.acquire import embedding


def test_the_cells_of_an_image_are_means():
    images = np.zeros((2, 32, 48, 1), np.uint8)
    images[0, :2, :3] = 255
    found = embedding.cells(images)
    assert found.shape == (2, 16 * 16)
    assert found[0, 0] == 1 and found[0, 1:].max() == 0 and not found[1].any()
    assert embedding.cells(np.zeros((1, 5, 4, 3), np.uint8)).shape == (1, 60)


def test_wide_features_are_reduced_and_keep_distances(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedding, "WIDTH", 3)
    monkeypatch.setattr(embedding, "_BLOCK", 7)
    random = np.random.default_rng(0)
    features = (random.standard_normal((40, 3)) @ random.standard_normal((3, 20))).astype(np.float32)
    axes = embedding.directions(features.__getitem__, 40, random)
    found = embedding.reduced(features.__getitem__, np.arange(40), axes)
    assert found.shape == (40, 3)
    assert np.allclose(found @ found.T, features @ features.T, atol=1e-3)
    assert embedding.directions(found.__getitem__, 40, random) is None
    assert np.array_equal(embedding.reduced(found.__getitem__, np.array([3, 1]), None), found[[3, 1]])


def test_predictions_are_summarised_in_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedding, "_BLOCK", 2)
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0]])
    found = embedding.summarised(
        lambda rows: np.array(probabilities[rows]), np.array([2, 0, 1]), np.random.default_rng(0)
    )
    assert found.label.tolist() == [0, 0, 2] and found.second_label.tolist() == [1, 1, 0]
    assert found.probability.tolist() == pytest.approx([1, 0.6, 0.6])
    assert found.second_probability.tolist() == pytest.approx([0, 0.3, 0.2])
    assert found.entropy[0] == 0
    assert np.allclose(found.residuals, [[0, 0, 0], [-0.4, 0.3, 0.1], [0.2, 0.2, -0.4]])


def test_predictions_of_many_classes_need_no_more_memory_than_their_summary(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedding, "_BLOCK", 20)
    monkeypatch.setattr(embedding, "SAMPLE", 20)
    count, classes = 1000, 400
    random = np.random.default_rng(0)
    tracemalloc.start()
    found = embedding.summarised(lambda rows: random.dirichlet(np.ones(classes), len(rows)), np.arange(count), random)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < sum(part.nbytes for part in vars(found).values()) + 3_000_000
