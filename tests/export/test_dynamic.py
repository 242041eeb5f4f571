"""Dynamic quantisation of a small graph."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from darkroom.export import dynamic


def graph() -> onnx.ModelProto:
    """Tokens (1, 4) int64 through an embedding of 64, a convolution and a matrix product: (1, 4, 3)."""
    random = np.random.default_rng(0)
    shapes = {"table": (200, 64), "filters": (64, 64, 1), "weights": (64, 3)}
    constants = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["found"]),
        helper.make_node("Transpose", ["found"], ["channels"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels", "filters"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["back", "weights"], ["logits"]),
    ]
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_embeddings_and_products_are_quantised_and_convolutions_are_not():
    found = dynamic.quantised(graph())
    kinds = {node.op_type for node in found.graph.node}
    assert {"Conv", "MatMulInteger"} <= kinds and "ConvInteger" not in kinds
    types = {numpy_helper.to_array(one).dtype.name: one.name for one in found.graph.initializer}
    assert "int8" in types
    assert len(found.SerializeToString()) < 0.6 * len(graph().SerializeToString())
