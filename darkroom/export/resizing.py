"""Resizing of images inside an ONNX graph, equal to darkroom.inputs.resizing.fit within one grey level.

Resizing multiplies by one matrix per axis, first along the width, then along the height. It rounds to grey levels after
each. Pillow uses fixed-point weights in units of 2**-22; float64 holds their sums exactly. ONNX's own Resize does not
fit: it cannot crop at fractions of a pixel, and it does not round between the axes.
"""

import onnx
import onnx.inliner
import onnx.version_converter
from onnx import TensorProto
from onnxscript import UINT8, OnnxFunction, ir, optimizer, script
from onnxscript import opset18 as op

from darkroom.inputs.resizing import Interpolation, Resize, uncropped

RESIZED = "resized"  # the name of the output


def resizer(
    shape: tuple[int, int, int], resize: Resize, interpolation: Interpolation, crop_fraction: float, opset: int
) -> onnx.ModelProto:
    """Build a model from `images` (batch, height, width, C) uint8 of any size to `resized` (batch, H, W, C) uint8.

    `shape` is (H, W, C). With a `crop_fraction` below 1, images are resized to more pixels, of which the centre is
    taken. Images that already have the size H x W stay as they are.
    """
    height, width, channels = shape
    whole_height, whole_width = uncropped((height, width), crop_fraction)
    top, left = (round((whole - part) / 2) for whole, part in ((whole_height, height), (whole_width, width)))
    side, rounded = _SIDES[resize](_WEIGHTS[interpolation]), _ROUNDED[interpolation]
    centre = _all if crop_fraction == 1 else _part

    @script(default_opset=op)
    def fitted(images):
        sizes = op.Shape(images)
        own_height = op.Gather(sizes, 1)
        own_width = op.Gather(sizes, 2)
        if op.And(own_height == height, own_width == width):
            resized = op.Identity(images)
        else:
            planes = op.Transpose(op.Cast(images, to=TensorProto.DOUBLE), perm=[0, 3, 1, 2])
            across = centre(side(own_width, own_height, whole_width, whole_height), left, width)
            narrow = rounded(op.MatMul(planes, op.Transpose(across)))
            down = centre(side(own_height, own_width, whole_height, whole_width), top, height)
            small = rounded(op.MatMul(down, narrow))
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
def _distances(own, start, end, wanted):
    """Distances (wanted, own) float64 from the middles of `wanted` output pixels to those of `own` input pixels.

    The output covers the input from `start` to `end`, float64. The unit is an output pixel, or an input pixel if that
    is wider.
    """
    first = op.Cast(op.Cast(start, to=TensorProto.FLOAT), to=TensorProto.DOUBLE)
    step = op.Cast(
        op.Cast(end, to=TensorProto.FLOAT) - op.Cast(start, to=TensorProto.FLOAT), to=TensorProto.DOUBLE
    ) / op.Cast(wanted, to=TensorProto.DOUBLE)
    middles = first + (op.Cast(op.Range(0, wanted, 1), to=TensorProto.DOUBLE) + 0.5) * step
    pixels = op.Cast(op.Range(0, own, 1), to=TensorProto.DOUBLE)
    return op.Abs(op.Unsqueeze(pixels, [0]) - op.Unsqueeze(middles, [1]) + 0.5) * (1.0 / op.Max(step, 1.0))


@script(default_opset=op)
def _bilinear(own, start, end, wanted):
    """Resampling weights (wanted, own) float64, see `_distances`; each row sums to 1. The filter is a triangle."""
    triangles = op.Relu(1.0 - _distances(own, start, end, wanted))
    return op.Floor(triangles / op.ReduceSum(triangles, [1]) * 4194304.0 + 0.5) / 4194304.0


@script(default_opset=op)
def _bicubic(own, start, end, wanted):
    """As `_bilinear`, with Keys' cubic convolution for a = -0.5.

    Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 1981.
    """
    distances = op.Min(_distances(own, start, end, wanted), 2.0)
    near = (1.5 * distances - 2.5) * distances * distances + 1.0
    far = (((distances - 5.0) * distances + 8.0) * distances - 4.0) * -0.5
    curves = op.Where(distances < 1.0, near, far)
    weights = curves / op.ReduceSum(curves, [1]) * 4194304.0
    return op.Sign(weights) * op.Floor(op.Abs(weights) + 0.5) / 4194304.0


@script(default_opset=op)
def _levels(values):
    """Round to grey levels; the values are within their range."""
    return op.Floor(values + 0.5)


@script(default_opset=op)
def _clipped_levels(values):
    """Round to grey levels from 0 to 255."""
    return op.Min(op.Max(op.Floor(values + 0.5), 0.0), 255.0)


@script(default_opset=op)
def _all(weights, first, count):
    """The weights themselves."""
    return op.Identity(weights)


@script(default_opset=op)
def _part(weights, first, count):
    """The weights (count, own) of the output pixels from `first`."""
    return op.Slice(weights, op.Unsqueeze(first, [0]), op.Unsqueeze(first + count, [0]), [0])


def _stretching(weights: OnnxFunction) -> OnnxFunction:
    """The weights (wanted, own) of one axis: the whole axis, from `own` to `wanted` pixels.

    The other axis goes from `other` to `wanted_other` pixels.
    """

    @script(default_opset=op)
    def stretched(own, other, wanted, wanted_other):
        length = op.Cast(own, to=TensorProto.DOUBLE)
        return weights(own, length - length, length, wanted)

    return stretched


def _cropping(weights: OnnxFunction) -> OnnxFunction:
    """As `_stretching`, but of the largest centred part with the wanted aspect ratio."""

    @script(default_opset=op)
    def cropped(own, other, wanted, wanted_other):
        length = op.Cast(own, to=TensorProto.DOUBLE)
        extent = op.Min(
            length,
            op.Cast(wanted, to=TensorProto.DOUBLE)
            / op.Cast(wanted_other, to=TensorProto.DOUBLE)
            * op.Cast(other, to=TensorProto.DOUBLE),
        )
        start = (length - extent) * 0.5
        return weights(own, start, start + extent, wanted)

    return cropped


def _padding(weights: OnnxFunction) -> OnnxFunction:
    """As `_stretching`, but onto the centred pixels that keep the aspect ratio, at least one; the others are black."""

    stretched = _stretching(weights)

    @script(default_opset=op)
    def padded(own, other, wanted, wanted_other):
        fitting = op.Round(
            op.Cast(own, to=TensorProto.DOUBLE)
            / op.Cast(other, to=TensorProto.DOUBLE)
            * op.Cast(wanted_other, to=TensorProto.DOUBLE)
        )
        inner = op.Min(wanted, op.Max(op.Cast(fitting, to=TensorProto.INT64), 1))
        before = op.Cast(op.Round(op.Cast(wanted - inner, to=TensorProto.DOUBLE) / 2.0), to=TensorProto.INT64)
        beside = op.Concat(op.Unsqueeze(before, [0]), [0], op.Unsqueeze(wanted - inner - before, [0]), [0], axis=0)
        return op.Pad(stretched(own, other, inner, wanted_other), beside)

    return padded


_WEIGHTS = {"bilinear": _bilinear, "bicubic": _bicubic}
_ROUNDED = {"bilinear": _levels, "bicubic": _clipped_levels}
_SIDES = {"stretch": _stretching, "crop": _cropping, "pad": _padding}
