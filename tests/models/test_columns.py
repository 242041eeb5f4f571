import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from darkroom.models import columns, registry
from darkroom.models.columns import ColumnEmbedding
from darkroom.models.config import ModelConfig
from darkroom.train.objective import Supervised

SHAPE = (0, 4, 0)
ROWS = np.array([[0, 2, 5], [1, 3, 5], [2, 0, 5], [4, 1, 5], [np.nan, 2, 5]], np.float32)


def network(name: str, **changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    arguments = {"mlp": {}, "tabm": {"members": 3}, "ft_transformer": {"heads": 2}}[name] | {"bins": 4, "embed_dim": 8}
    built = registry.build(name, arguments | changes, SHAPE, 3)
    built.fit_inputs(ROWS)
    return built


def embedding(bins: int) -> ColumnEmbedding:
    found = ColumnEmbedding(SHAPE, bins, 2, 0.0)
    found.fit(ROWS)
    return found


def test_a_number_is_encoded_by_the_part_of_each_bin_below_it():
    found = embedding(2)
    assert found.edges.tolist() == [[0, 1, 4], [5, 5, 5]] or found.edges.tolist() == [[0, 2, 4], [5, 5, 5]]
    middle = found.edges[0, 1].item()
    encoded = found.encode(torch.tensor([[0.0, 5], [middle, 5], [(middle + 4) / 2, 9], [-9, 5], [99, 5]]))
    expected = [[0, 0, 0], [1, 0, 0], [1, 0.5, 0], [0, 0, 0], [1, 1, 0]]
    np.testing.assert_allclose(encoded[:, 0], expected)
    np.testing.assert_allclose(encoded[:, 1], np.zeros((5, 3)))  # a constant column says nothing


def test_a_missing_number_has_a_place_of_its_own():
    assert embedding(2).encode(torch.tensor([[torch.nan, torch.nan]])).tolist() == [[[0, 0, 1], [0, 0, 1]]]


def test_vectors_are_in_the_order_of_the_columns():
    found = embedding(2).eval()
    before = found(torch.from_numpy(ROWS[:1]))
    for column, other in enumerate([3, 3, np.nan]):
        changed = ROWS[:1].copy()
        changed[0, column] = other
        differs = (found(torch.from_numpy(changed)) != before).any(2)[0]
        assert differs.tolist() == [place == column for place in range(3)]


def test_the_bins_do_not_depend_on_memory_mapping_or_on_rows_that_are_not_trained_on():
    rows = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    found = ColumnEmbedding((0, 0, 0), 8, 2, 0.0)
    found.fit(rows)
    expected = np.quantile(rows, np.linspace(0, 1, 9), axis=0, method="nearest").T
    np.testing.assert_array_equal(found.edges, expected)


def test_hidden_values_are_drawn_in_training_only():
    found = ColumnEmbedding(SHAPE, 2, 2, 0.5)
    found.fit(ROWS)
    rows = torch.from_numpy(ROWS)
    assert not torch.equal(found(rows), found(rows))
    assert torch.equal(found.eval()(rows), found(rows))


@pytest.mark.parametrize("name", registry.OF_TABLES)
def test_a_network_answers_each_row_on_its_own(name: str):
    built = network(name).eval()
    together = built(torch.from_numpy(ROWS))
    assert together.shape == (5, 3) and together.isfinite().all()
    torch.testing.assert_close(torch.cat([built(torch.from_numpy(row[None])) for row in ROWS]), together)


@pytest.mark.parametrize("name", registry.OF_TABLES)
def test_a_network_has_the_same_answers_after_it_was_saved(name: str):
    one, other = network(name), network(name, dropout=0.5)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.embedding.edges.zero_()
    other.load_state_dict(one.state_dict())
    rows = torch.from_numpy(ROWS)
    torch.testing.assert_close(other.eval()(rows), one.eval()(rows))


@pytest.mark.parametrize("name", registry.OF_TABLES)
def test_every_parameter_gets_a_gradient(name: str):
    built = network(name, hidden_values=0.5)
    torch.manual_seed(1)
    built(torch.from_numpy(ROWS).repeat(20, 1)).sum().backward()
    assert all(parameter.grad is not None for parameter in built.parameters())


def test_tabm_learns_each_member_and_answers_with_their_mean_probability():
    built, rows, labels = network("tabm", dropout=0.0, hidden_values=0.0), torch.from_numpy(ROWS), torch.arange(5) % 3
    each = built(rows)
    assert each.shape == (5, 3, 3) and not torch.equal(each[:, 0], each[:, 1])
    torch.testing.assert_close(built.eval()(rows).softmax(1), each.softmax(2).mean(1))
    loss, correct = Supervised(0.1).compare(each, labels)
    torch.testing.assert_close(
        loss, torch.stack([cross_entropy(each[:, k], labels, label_smoothing=0.1) for k in range(3)]).mean()
    )
    assert correct == (each.softmax(2).mean(1).argmax(1) == labels).sum()


def test_the_config_class_of_each_family_knows_its_arguments():
    for name in registry.OF_TABLES:
        fields = ModelConfig.family(name).model_fields
        assert set(fields) == set(registry.FAMILIES[name].__init__.__annotations__) - {"shape", "classes", "return"}


def test_rows_are_told_from_images_and_texts():
    assert columns.are(ROWS) and columns.are(torch.from_numpy(ROWS))
    assert not columns.are(np.zeros((2, 3), np.int32)) and not columns.are(np.zeros((2, 3, 3, 1), np.float32))
