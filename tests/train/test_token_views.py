"""Views of texts, and semi-supervised learning from texts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from darkroom.core.arrays import UNLABELLED
from darkroom.core.errors import DarkroomError
from darkroom.train.config import TrainConfig
from darkroom.train.setup import build_trainer, notices
from darkroom.train.token_views import TokenViews
from darkroom.train.trainer import Trainer
from tests.train.test_texts import LENGTH, VOCABULARY, manifest, split
from tests.trainings import CPU, MODEL, TRAIN, recipe, same

CLS, SEP = 1, 2
METHODS = ("pseudo_label", "fixmatch", "freematch")
TINY = {"embed_dim": 8, "channels": 8, "dropout": 0.1}


def packed(rows: list[list[int]]) -> np.ndarray:
    """Sequences (N, LENGTH) int32, padded."""
    return np.array([[*row, *[0] * (LENGTH - len(row))] for row in rows], np.int32)


def view(inputs: np.ndarray, deleted: float, replaced: float = 0.0, step: int = 0, known: np.ndarray | None = None):
    views = TokenViews(inputs if known is None else known, deleted, replaced, 0, CPU, "view")
    everything = torch.arange(len(inputs))
    return views(torch.from_numpy(inputs), everything, everything, 0, step)


ROWS = st.lists(st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=LENGTH), min_size=1, max_size=6)


@given(ROWS, st.floats(0, 1), st.integers(0, 5))
def test_what_is_left_of_a_text_are_some_of_its_tokens_in_order(rows: list[list[int]], deleted: float, step: int):
    found = view(packed(rows), deleted, step=step)
    for row, left in zip(rows, found.tolist(), strict=True):
        kept = [token for token in left if token]
        assert kept and left == kept + [0] * (len(left) - len(kept))
        remaining = iter(row)
        assert all(token in remaining for token in kept)


@given(ROWS, st.integers(0, 5))
def test_replaced_tokens_are_those_of_the_texts(rows: list[list[int]], step: int):
    found = view(packed(rows), 0.0, 1.0, step)
    known = {token for row in rows for token in row}
    for row, left in zip(rows, found.tolist(), strict=True):
        assert sum(map(bool, left)) == len(row) and {*left} - {0} <= known


@pytest.mark.parametrize("ends", [(True, True), (True, False), (False, True)])
def test_tokens_that_all_texts_begin_or_end_with_stay(ends: tuple[bool, bool]):
    random = np.random.default_rng(0)
    rows = [random.integers(3, VOCABULARY, random.integers(2, LENGTH - 1)).tolist() for _ in range(20)]
    rows = [[*([CLS] if ends[0] else []), *row, *([SEP] if ends[1] else [])] for row in rows]
    for left in view(packed(rows), 0.9, 0.9).tolist():
        kept = [token for token in left if token]
        assert (kept[0] == CLS, kept[-1] == SEP) == ends


def test_the_fraction_of_changed_tokens_is_the_given_one():
    inputs = np.random.default_rng(0).integers(3, 30_000, (200, 100)).astype(np.int32)
    assert (view(inputs, 0.3) > 0).sum() / inputs.size == pytest.approx(0.7, abs=0.01)
    assert (view(inputs, 0.0, 0.2) != torch.from_numpy(inputs)).float().mean() == pytest.approx(0.2, abs=0.01)
    assert torch.equal(view(inputs, 0.0), torch.from_numpy(inputs).long())


def test_a_view_depends_on_the_step_and_not_on_the_other_members():
    inputs = split(12, 0).inputs
    views, given = TokenViews(inputs, 0.5, 0.2, 0, CPU, "view"), torch.from_numpy(inputs)
    everything, some = torch.arange(12), torch.tensor([1, 5, 7])
    whole = views(given, everything, everything, 0, 3)
    part = views(given[some], everything, some, 0, 3)
    assert torch.equal(part, whole[some][:, : part.shape[1]]) and not whole[some][:, part.shape[1] :].any()
    assert whole.tolist() != views(given, everything, everything, 0, 4).tolist()


def learning(method: str, **changes: object) -> TrainConfig:
    own = {"method": method, "threshold": 0.6, "unlabelled_ratio": 2}
    return recipe(semi_supervised=TRAIN.semi_supervised.model_copy(update=own), **changes)


def trainer(settings: TrainConfig, name: str = "text_cnn", labelled: int = 20) -> Trainer:
    data = replace(manifest(), counts={"train": labelled, "val": 64, "test": 0, UNLABELLED: 90})
    chosen = {"text_cnn": TINY, "bert": {"architecture": "L-1_H-16_A-2", "dropout": 0.1}}
    section = getattr(MODEL, name).model_copy(update=chosen[name])
    model = MODEL.model_copy(update={"name": name, name: section})
    return build_trainer(0, model, settings, data, split(labelled, 1), split(64, 2), unlabelled=split(90, 3))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["text_cnn", "bert"])
def test_a_text_network_learns_with_every_method(name: str, method: str):
    run = trainer(learning(method, epochs=1.0, batch_size=8), name)
    (record,) = run.epochs()
    assert np.isfinite(record.batch_loss) and 0 <= record.objective["used"] <= 1
    assert (run.batches.steps, run.batches.examples) == (6, 48)  # 6 x 8 x 2 = 96 unlabelled ones
    assert any("90 unlabelled examples" in line for line in notices(run.settings, run))


def test_an_epoch_shows_all_texts_of_both_kinds():
    run = trainer(learning("fixmatch", batch_size=8))
    batches = list(run.batches.epoch(0, 0, run.batches.steps))
    assert [len(batch.inputs) for batch in batches] == [8] * 6
    assert all(batch.weak.shape[:2] == batch.strong.shape[:2] == (8, 2) for batch in batches)
    run.batches.unlabelled.weak.deleted = 0.0
    shown = {tuple(row) for batch in run.batches.epoch(0, 0, 6) for row in batch.weak.flatten(0, 1).tolist()}
    known = {tuple(one for one in row if one) for row in split(90, 3).inputs.tolist()}
    assert {tuple(one for one in row if one) for row in shown} == known


@pytest.mark.parametrize("size", [2, 3])
def test_parts_equal_the_split_but_for_padding(size: int):
    source = trainer(learning("freematch", batch_size=8)).batches
    whole = list(source.epoch(1, 1, 4))
    for rank in range(size):
        for part, batch in zip(source.epoch(1, 1, 4, (rank, size)), whole, strict=True):
            for found, expected in zip(part, batch.split(size)[rank], strict=True):
                longest = min(found.shape[-1], expected.shape[-1])
                assert torch.equal(found[..., :longest], expected[..., :longest])
                assert found.ndim == 1 or not expected[..., longest:].any()


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_training_has_the_same_bits(method: str):
    settings = learning(method, epochs=3.0, batch_size=8, checkpoint_steps=1)
    whole, resumed, states, calls = trainer(settings), trainer(settings), [], iter(range(1, 100))

    def save() -> None:
        if next(calls) == 9:
            tensors, values = whole.state()
            states.append(({name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(values))))

    list(whole.epochs(save))
    resumed.restore(*states[0])
    list(resumed.epochs())
    assert same(whole.whole.state_dict(), resumed.whole.state_dict())


def test_without_unlabelled_texts_the_error_says_where_to_put_them():
    with pytest.raises(DarkroomError, match=r"method = 'fixmatch'.*unlabelled\.csv.*labels_per_class"):
        build_trainer(0, MODEL, learning("fixmatch"), manifest(), split(8, 1), split(8, 2))


def test_rows_of_a_table_have_no_views():
    with pytest.raises(DarkroomError, match=r"method = 'fixmatch' needs images or texts.*none"):
        build_trainer(0, MODEL, learning("fixmatch"), replace(manifest(), kind="table"), split(8, 1), split(8, 2))
