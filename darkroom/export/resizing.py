"""Pictures of any size brought to the network's inside an ONNX graph, to the same grey levels as darkroom.inputs.image.fit brings them.

To resize is to multiply with a matrix a side, first the widths, then the heights, rounded to grey levels after each. Pillow counts
in fractions of 2**-22; in float64, which holds its sums exactly, the graph does too. ONNX's own Resize could not: it takes no part
of a picture that begins within a pixel, and does not round between the sides.
"""

from typing import Literal

import onnx
import onnx.inliner
import onnx.version_converter
from onnx import TensorProto
from onnxscript import UINT8, ir, optimizer, script
from onnxscript import opset18 as op

Resize = Literal["stretch", "crop", "pad"]
RESIZED = "resized"  # the output's name


def resizer(shape: tuple[int, int, int], resize: Resize, opset: int) -> onnx.ModelProto:
    """A model from `images` (batch, height, width, C) uint8, of any height and width, to `resized` (batch, H, W, C) uint8.

    `shape` is (H, W, C). Pictures that have the size already are passed on as they are.
    """
    height, width, channels = shape
    side = {"stretch": _stretched, "crop": _cropped, "pad": _padded}[resize]

    @script(default_opset=op)
    def fitted(images):
        sizes = op.Shape(images)
        own_height = op.Gather(sizes, 1)
        own_width = op.Gather(sizes, 2)
        if op.And(own_height == height, own_width == width):
            resized = op.Identity(images)
        else:
            planes = op.Transpose(op.Cast(images, to=TensorProto.DOUBLE), perm=[0, 3, 1, 2])
            narrow = op.Floor(op.MatMul(planes, op.Transpose(side(own_width, own_height, width, height))) + 0.5)
            small = op.Floor(op.MatMul(side(own_height, own_width, height, width), narrow) + 0.5)
            resized = op.Transpose(op.Cast(small, to=TensorProto.UINT8), perm=[0, 2, 3, 1])
        return resized

    model = fitted.to_model_proto(
        input_types=[UINT8["batch", "height", "width", channels]],
        output_types=[UINT8["batch", height, width, channels]],
    )
    model = ir.from_proto(
        onnx.version_converter.convert_version(optimizer.optimize(onnx.inliner.inline_local_functions(model)), opset)
    )
    for node in model.graph.all_nodes():  # no name of the network's, which follows, is to be one of these
        for named in (node, *node.outputs):
            named.name = f"resize.{named.name}"
    for constant in list(model.graph.initializers.values()):
        constant.name = f"resize.{constant.name}"
    model.graph.outputs[0].name = RESIZED
    return ir.to_proto(model)


@script(default_opset=op)
def _shares(own, start, end, wanted):
    """How much of each of a side's `own` pixels is in each of the `wanted` ones: (wanted, own) float64, of which each row sums to 1.

    Of the part of the side from `start` to `end`, float64. A wanted pixel is a triangle, two of its widths wide, or two of the side's
    own pixels if those are wider.
    """
    first = op.Cast(op.Cast(start, to=TensorProto.FLOAT), to=TensorProto.DOUBLE)
    step = op.Cast(
        op.Cast(end, to=TensorProto.FLOAT) - op.Cast(start, to=TensorProto.FLOAT), to=TensorProto.DOUBLE
    ) / op.Cast(wanted, to=TensorProto.DOUBLE)
    middles = first + (op.Cast(op.Range(0, wanted, 1), to=TensorProto.DOUBLE) + 0.5) * step
    pixels = op.Cast(op.Range(0, own, 1), to=TensorProto.DOUBLE)
    distances = op.Abs(op.Unsqueeze(pixels, [0]) - op.Unsqueeze(middles, [1]) + 0.5) * (1.0 / op.Max(step, 1.0))
    triangles = op.Relu(1.0 - distances)
    return op.Floor(triangles / op.ReduceSum(triangles, [1]) * 4194304.0 + 0.5) / 4194304.0


@script(default_opset=op)
def _stretched(own, other, wanted, wanted_other):
    """The matrix (wanted, own) of a side of `own` pixels, whose other side has `other` and shall have `wanted_other`: of the whole side."""
    length = op.Cast(own, to=TensorProto.DOUBLE)
    return _shares(own, length - length, length, wanted)


@script(default_opset=op)
def _cropped(own, other, wanted, wanted_other):
    """As `_stretched`, of the middle, as long as the wanted shape allows."""
    length = op.Cast(own, to=TensorProto.DOUBLE)
    extent = op.Min(
        length,
        op.Cast(wanted, to=TensorProto.DOUBLE)
        / op.Cast(wanted_other, to=TensorProto.DOUBLE)
        * op.Cast(other, to=TensorProto.DOUBLE),
    )
    start = (length - extent) * 0.5
    return _shares(own, start, start + extent, wanted)


@script(default_opset=op)
def _padded(own, other, wanted, wanted_other):
    """As `_stretched`, onto as many pixels in the middle as keep the picture's shape, at least one; the others are black."""
    fitting = op.Round(
        op.Cast(own, to=TensorProto.DOUBLE)
        / op.Cast(other, to=TensorProto.DOUBLE)
        * op.Cast(wanted_other, to=TensorProto.DOUBLE)
    )
    inner = op.Min(wanted, op.Max(op.Cast(fitting, to=TensorProto.INT64), 1))
    before = op.Cast(op.Round(op.Cast(wanted - inner, to=TensorProto.DOUBLE) / 2.0), to=TensorProto.INT64)
    beside = op.Concat(op.Unsqueeze(before, [0]), [0], op.Unsqueeze(wanted - inner - before, [0]), [0], axis=0)
    return op.Pad(_stretched(own, other, inner, wanted_other), beside)
