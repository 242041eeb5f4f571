"""Resizing of images inside an ONNX graph, equal to darkroom.inputs.image.fit within one grey level.

Resizing multiplies by one matrix per axis, first along the width, then along the height. It rounds to grey levels after
each. Pillow uses fixed-point weights in units of 2**-22; float64 holds their sums exactly. ONNX's own Resize does not
fit: it cannot crop at fractions of a pixel, and it does not round between the axes.
"""

from typing import Literal

import onnx
import onnx.inliner
import onnx.version_converter
from onnx import TensorProto
from onnxscript import UINT8, ir, optimizer, script
from onnxscript import opset18 as op

Resize = Literal["stretch", "crop", "pad"]
RESIZED = "resized"  # the name of the output


def resizer(shape: tuple[int, int, int], resize: Resize, opset: int) -> onnx.ModelProto:
    """Build a model from `images` (batch, height, width, C) uint8 of any size to `resized` (batch, H, W, C) uint8.

    `shape` is (H, W, C). Images that already have this size stay as they are.
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
    for node in model.graph.all_nodes():  # these names must differ from the network's
        for named in (node, *node.outputs):
            named.name = f"resize.{named.name}"
    for constant in list(model.graph.initializers.values()):
        constant.name = f"resize.{constant.name}"
    model.graph.outputs[0].name = RESIZED
    return ir.to_proto(model)


@script(default_opset=op)
def _weights(own, start, end, wanted):
    """Resampling weights (wanted, own) float64 from `own` input pixels to `wanted` output pixels; each row sums to 1.

    The output covers the input from `start` to `end`, float64. The filter is a triangle (bilinear). Its support is two
    output pixels, or two input pixels if those are wider.
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
    """The weights (wanted, own) of one axis: the whole axis, from `own` to `wanted` pixels.

    The other axis goes from `other` to `wanted_other` pixels.
    """
    length = op.Cast(own, to=TensorProto.DOUBLE)
    return _weights(own, length - length, length, wanted)


@script(default_opset=op)
def _cropped(own, other, wanted, wanted_other):
    """As `_stretched`, but of the largest centred part with the wanted aspect ratio."""
    length = op.Cast(own, to=TensorProto.DOUBLE)
    extent = op.Min(
        length,
        op.Cast(wanted, to=TensorProto.DOUBLE)
        / op.Cast(wanted_other, to=TensorProto.DOUBLE)
        * op.Cast(other, to=TensorProto.DOUBLE),
    )
    start = (length - extent) * 0.5
    return _weights(own, start, start + extent, wanted)


@script(default_opset=op)
def _padded(own, other, wanted, wanted_other):
    """As `_stretched`, but onto the centred pixels that keep the aspect ratio, at least one; the others are black."""
    fitting = op.Round(
        op.Cast(own, to=TensorProto.DOUBLE)
        / op.Cast(other, to=TensorProto.DOUBLE)
        * op.Cast(wanted_other, to=TensorProto.DOUBLE)
    )
    inner = op.Min(wanted, op.Max(op.Cast(fitting, to=TensorProto.INT64), 1))
    before = op.Cast(op.Round(op.Cast(wanted - inner, to=TensorProto.DOUBLE) / 2.0), to=TensorProto.INT64)
    beside = op.Concat(op.Unsqueeze(before, [0]), [0], op.Unsqueeze(wanted - inner - before, [0]), [0], axis=0)
    return op.Pad(_stretched(own, other, inner, wanted_other), beside)
