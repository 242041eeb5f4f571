"""Explanations of histories, and what they share with those of texts."""

from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.core import arrays
from darkroom.core.arrays import Split
from darkroom.explain import histories, selection, sequences
from darkroom.explain.attribution import Calibrated
from darkroom.explain.histories import Histories
from darkroom.models.checkpoints import open_trained
from darkroom.models.inference import predict, probabilities
from tests.histories import make, train


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    make(folder, features=2)
    with chdir(folder):
        train()
    return folder


@pytest.fixture
def explained(project: Path, monkeypatch: pytest.MonkeyPatch) -> Histories:
    monkeypatch.chdir(project)
    trained = open_trained()
    return Histories(Calibrated(trained.network, 2.0), trained.manifest, shown=2, wanted=4)


def test_a_value_is_the_loss_without_the_event(explained: Histories):
    trained, test = open_trained(), arrays.read_split("data/arrays", "test")
    row = np.array(test.inputs[0])
    length = int((row != 0).sum())
    maps = explained.maps(row[None], np.array([3]))
    without = np.zeros((length, len(row)), np.int32)
    for place in range(length):
        without[place, : length - 1] = np.delete(row[:length], place)
    logits = predict(trained.network, np.vstack([row, without]), (), ())[:, 3] / 2
    np.testing.assert_allclose(maps["leave_one_out"][0, :length], logits[0] - logits[1:], atol=1e-5)
    assert not maps["leave_one_out"][0, length:].any() and not maps["integrated_gradients"][0, length:].any()


def test_gradients_add_up_to_the_difference_of_the_logits(explained: Histories):
    trained, test = open_trained(), arrays.read_split("data/arrays", "test")
    row = np.array(test.inputs[1])
    held = row[row != 0]
    values = explained.maps(row[None], np.array([2]))["integrated_gradients"][0]
    inner, tokens = trained.network, torch.from_numpy(held.astype(np.int64))[None]
    with torch.no_grad():
        absent = inner.head(inner.features(torch.zeros_like(inner.embedding(tokens)), tokens != 0))
        difference = (inner(tokens) - absent)[0, 2] / 2
    assert values.sum() == pytest.approx(float(difference), abs=0.02)


def test_blocks_of_altered_histories_change_nothing(explained: Histories, monkeypatch: pytest.MonkeyPatch):
    inputs, targets = np.array(arrays.read_split("data/arrays", "test").inputs[:3]), np.array([1, 2, 3])
    maps = explained.maps(inputs, targets)
    whole = explained.measure(inputs, targets, maps, seed=0)
    monkeypatch.setattr(sequences, "MAX_LOGITS", 9 * 20)
    parts = explained.measure(inputs, targets, maps, seed=0)
    for name in whole:
        assert whole[name].shape == (2, 3, sequences.CURVE_STEPS + 1)
        np.testing.assert_allclose(whole[name], parts[name], atol=1e-6)
    deletion, insertion = whole["random"]
    np.testing.assert_allclose(deletion[:, 0], insertion[:, -1], atol=1e-6)  # the whole history


def test_items_that_are_left_out_are_not_explained(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project)
    test, rows = arrays.read_split("data/arrays", "test"), np.array([4, 7])
    given = probabilities(predict(open_trained().network, test.inputs, (), ()))[rows]
    two = Split(test.inputs[rows], test.labels[rows], test.ids[rows])
    for row, index in zip(histories.recommended(two, rows, given, "leave_out")[2], rows, strict=True):
        had = np.unique(np.array(test.inputs[index]))
        assert not row[had[had > 0] - 1].any() and row.max() > 0
    np.testing.assert_array_equal(histories.recommended(two, rows, given, "keep")[2], given)


def test_of_many_probabilities_random_examples_are_taken(project: Path, monkeypatch: pytest.MonkeyPatch):
    test = arrays.read_split(project / "data/arrays", "test")
    same, rows = selection.affordable(test, 9, seed=1)
    assert same is test and rows.tolist() == list(range(12))
    monkeypatch.setattr(selection, "MAX_PROBABILITIES", 9 * 5)
    some, rows = selection.affordable(test, 9, seed=1)
    assert len(some) == 5 and some.ids.tolist() == test.ids[rows].tolist() and (np.diff(rows) > 0).all()
