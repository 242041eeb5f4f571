"""The front of a graph of rows of a table: raw columns, with categories as strings, to what the network takes."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from darkroom.bundle.classifier import CATEGORIES, NUMBERS
from darkroom.columns.schema import UNKNOWN, Column

ROWS = "rows"  # the input of the graph of the network
_ENCODED = "encoded_rows"
_ML_OPSET = 4


def with_raw_columns(graph: onnx.ModelProto, columns: Sequence[Column]) -> onnx.ModelProto:
    """The `graph`, whose input ROWS (batch, C) is float32, for the raw columns that darkroom/bundle/tables.py names."""
    kinds = np.array([column.kind == "category" for column in columns])
    inputs, nodes, parts, constants = [], [], [], []
    if not kinds.all():
        inputs.append(helper.make_tensor_value_info(NUMBERS, TensorProto.FLOAT, ["batch", int((~kinds).sum())]))
        parts.append(NUMBERS)
    if kinds.any():
        inputs.append(helper.make_tensor_value_info(CATEGORIES, TensorProto.STRING, ["batch", int(kinds.sum())]))
    for place, index in enumerate(np.flatnonzero(kinds).tolist()):
        column, names = f"{CATEGORIES}_{place}", [f"{kind}_{place}" for kind in ("column_index", "encoded")]
        constants.append(numpy_helper.from_array(np.array([place], np.int64), names[0]))
        nodes += [
            helper.make_node("Gather", [CATEGORIES, names[0]], [column], axis=1),
            helper.make_node(
                "LabelEncoder",
                [column],
                [names[1]],
                domain="ai.onnx.ml",
                keys_strings=list(columns[index].indices),
                values_floats=list(map(float, columns[index].indices.values())),
                default_float=float(UNKNOWN),
            ),
        ]
        parts.append(names[1])
    order = np.argsort(np.concatenate([np.flatnonzero(~kinds), np.flatnonzero(kinds)]))
    constants.append(numpy_helper.from_array(order.astype(np.int64), "column_order"))
    nodes += [
        helper.make_node("Concat", parts, ["unordered_rows"], axis=1),
        helper.make_node("Gather", ["unordered_rows", "column_order"], [_ENCODED], axis=1),
    ]
    output = helper.make_tensor_value_info(_ENCODED, TensorProto.FLOAT, ["batch", len(columns)])
    front = helper.make_model(
        helper.make_graph(nodes, "raw_columns", inputs, [output], constants),
        ir_version=graph.ir_version,
        opset_imports=[*graph.opset_import, helper.make_opsetid("ai.onnx.ml", _ML_OPSET)],
    )
    graph.opset_import.append(helper.make_opsetid("ai.onnx.ml", _ML_OPSET))
    whole = onnx.compose.merge_models(front, graph, [(_ENCODED, ROWS)])
    return whole
