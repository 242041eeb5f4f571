import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession

from darkroom.bundle import tables
from darkroom.bundle.classifier import OUTPUTS
from darkroom.columns.schema import Column
from darkroom.export import dynamic
from darkroom.export.graph import convert
from darkroom.export.raw_columns import ROWS, with_raw_columns
from darkroom.models import registry
from tests.tables import SCHEMA


@pytest.mark.parametrize("name", registry.OF_TABLES)
def test_every_family_answers_raw_columns_in_batches_of_any_size(name: str):
    torch.manual_seed(0)
    network = registry.build(name, {"bins": 4, "embed_dim": 8}, SCHEMA.shape, 3)
    rows = np.array([[20, 2, 5], [np.nan, 0, np.nan], [30, 1, 7], [90, 3, 1]], np.float32)
    network.fit_inputs(rows)
    sizes = {"inputs": {0: torch.export.Dim("batch")}}
    model = dynamic.Classifier(network.eval(), 2.0)
    program = torch.export.export(model, (torch.zeros(2, 3),), dynamic_shapes=sizes)
    graph = with_raw_columns(convert(program, sizes, ROWS, OUTPUTS, 20), SCHEMA.columns)
    session = InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(torch.from_numpy(rows))[0].numpy()
    written = {name: of.astype(str) if of.dtype == object else of for name, of in tables.feeds(SCHEMA, rows).items()}
    np.testing.assert_allclose(session.run(OUTPUTS, written)[0], expected, atol=1e-5)  # as golden.npz holds them
    for part in (slice(0, 1), slice(0, 3), slice(0, 4)):
        logits, probabilities = tables.answers(session, SCHEMA, rows[part])
        np.testing.assert_allclose(logits, expected[part], atol=1e-5)
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


def test_categories_come_before_numbers_and_alone():
    for columns in ((SCHEMA.columns[1], SCHEMA.columns[0]), (SCHEMA.columns[1],), (Column("x", "number"),)):
        shape = tuple(column.size for column in columns)
        network = registry.build("mlp", {"bins": 2, "embed_dim": 2, "hidden_size": 4}, shape, 2)
        rows = np.array([[2.0] * len(shape), [3.0] * len(shape)], np.float32)
        network.fit_inputs(rows)
        sizes = {"inputs": {0: torch.export.Dim("batch")}}
        model = dynamic.Classifier(network.eval(), 1.0)
        program = torch.export.export(model, (torch.zeros(2, len(shape)),), dynamic_shapes=sizes)
        graph = with_raw_columns(convert(program, sizes, ROWS, OUTPUTS, 20), columns)
        session = InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        described = type(SCHEMA)("y", None, columns)
        with torch.no_grad():
            expected = model(torch.from_numpy(rows))[0].numpy()
        np.testing.assert_allclose(tables.answers(session, described, rows)[0], expected, atol=1e-5)
