"""The Open Inference Protocol, version 2, over HTTP: clients of KServe and Triton, such as NVIDIA's tritonclient.http, work unchanged.

    model     named as the dataset in the bundle's manifest; its version is the bundle's
    input     images          UINT8 (N, h, w, C), pictures of any one size
    outputs   logits          FP32 (N, K)
              probabilities   FP32 (N, K)

With the extensions for binary data and for classification. A request may be compressed, by gzip or deflate. The pixels go to the
ONNX file as they are: what the manifest says under `denoise` is the client's to do.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from darkroom.bundle.classifier import INPUT, OUTPUTS, Bundle
from darkroom.serve import inference_messages as messages
from darkroom.serve import tensors
from darkroom.serve.problems import Problem, responses
from darkroom.serve.service import Service

JSON_LIMIT = 2**20  # bytes: parsed, JSON takes up to 25 times its length; larger pictures do better behind it, as bytes
AT_ONCE = 2**14  # bytes of JSON: longer ones would hold up the event loop for more than a millisecond
NOT_READY = 400  # the protocol's: "a 4xx status code indicates false"
LONGEST = 2**14  # pixels of a side: what the resize in the graph needs grows with it
_LENGTH = "Inference-Header-Content-Length"
_BYTES = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
}  # the JSON with bytes behind it
_REQUEST = {"required": True, "content": {"application/json": {"schema": messages.request_schema()}, **_BYTES}}
_ANSWER = {
    200: {"model": messages.InferenceAnswer, "content": _BYTES, "headers": {_LENGTH: {"schema": {"type": "string"}}}}
}


@dataclass(frozen=True)
class _Address:
    """The model that a URL names, in one version or in any."""

    name: str
    version: str | None = None

    def check(self, bundle: Bundle) -> None:
        """Raises Problem 404 where the bundle is not what is named."""
        if self.name != bundle.manifest.dataset:
            raise Problem(404, f"There is no model {self.name!r} here, only {bundle.manifest.dataset!r}.")
        if self.version not in (None, bundle.version):
            raise Problem(404, f"There is no version {self.version!r} of {self.name!r} here, only {bundle.version!r}.")


@dataclass(frozen=True)
class _Asked:
    """What is left of a request for inference once it is read."""

    images: np.ndarray  # (N, h, w, C) uint8
    outputs: list[messages.RequestOutput]
    binary: bool  # whether outputs that do not say otherwise go as bytes
    id: str | None


def router(service: Service) -> APIRouter:
    """The routes under /v2. What they take is read and described here and not by FastAPI, which would answer 422."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @routes.get("")
    async def server_metadata(request: Request) -> messages.ServerMetadata:
        """What this server is."""
        return messages.ServerMetadata(
            name="darkroom", version=request.app.version, extensions=["binary_tensor_data", "classification"]
        )

    @routes.get("/health/live")
    async def server_live() -> messages.Live:
        """Whether the process answers: a liveness probe."""
        return messages.Live(live=True)

    @routes.get("/health/ready", responses=_not_ready(messages.Ready))
    async def server_ready(response: Response) -> messages.Ready:
        """Whether new requests are welcome: a readiness probe."""
        response.status_code = 200 if service.ready else NOT_READY
        return messages.Ready(live=True, ready=service.ready)

    async def model_metadata(request: Request) -> messages.ModelMetadata:
        """What the model takes and gives."""
        bundle = service.bundle
        _Address(**request.path_params).check(bundle)
        images = messages.TensorMetadata(name=INPUT, datatype="UINT8", shape=[-1, -1, -1, bundle.manifest.shape[2]])
        outputs = [
            messages.TensorMetadata(name=name, datatype="FP32", shape=[-1, len(bundle.manifest.classes)])
            for name in OUTPUTS
        ]
        return messages.ModelMetadata(
            name=bundle.manifest.dataset,
            versions=[bundle.version],
            platform="onnxruntime_onnx",
            inputs=[images],
            outputs=outputs,
        )

    async def model_ready(request: Request, response: Response) -> messages.ModelReady:
        """Whether the model takes new requests."""
        address = _Address(**request.path_params)
        address.check(service.bundle)
        response.status_code = 200 if service.ready else NOT_READY
        return messages.ModelReady(name=address.name, ready=service.ready)

    async def infer(request: Request) -> Response:
        """Classifies pictures. The body is JSON, or JSON with the pixels behind it as bytes: then the header gives the length of the JSON."""
        address = _Address(**request.path_params)
        address.check(service.bundle)
        asked = await _asked(service, request)
        bundle, *results = await service.infer(asked.images)
        address.check(bundle)  # it may be another by now
        return _answer(asked, bundle, dict(zip(OUTPUTS, results, strict=True)))

    for path, names in (("/models/{name}", ["name"]), ("/models/{name}/versions/{version}", ["name", "version"])):
        named = [_parameter(name, "path", required=True) for name in names]
        length = _parameter(_LENGTH, "header", required=False, pattern="^[0-9]{1,18}$")
        routes.add_api_route(path, model_metadata, responses=responses(404), openapi_extra={"parameters": named})
        routes.add_api_route(
            f"{path}/ready",
            model_ready,
            responses=responses(404) | _not_ready(messages.ModelReady),
            openapi_extra={"parameters": named},
        )
        routes.add_api_route(
            f"{path}/infer",
            infer,
            methods=["POST"],
            responses=_ANSWER | responses(400, 404, 408, 413, 415, 429, 504),
            openapi_extra={"parameters": [*named, length], "requestBody": _REQUEST},
        )
    return routes


def _not_ready(answer: type[messages.Ready | messages.ModelReady]) -> dict[int | str, dict[str, Any]]:
    return {NOT_READY: {"model": answer, "description": "Not ready"}}


def _parameter(name: str, place: str, required: bool, **schema: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": {"type": "string", **schema}}


async def _asked(service: Service, request: Request) -> _Asked:
    """Reads a request for inference; raises Problem where it is none that the model answers."""
    text, raw = await _parts(service, request)
    max_pixels = service.max_pixels(service.bundle)
    if len(text) <= AT_ONCE:
        asked = _read(text, raw, max_pixels)
    else:
        asked = await service.run(lambda _: _read(text, raw, max_pixels), pictures=0, size=len(text))
    channels = service.bundle.manifest.shape[2]  # of the bundle that will answer: meanwhile it may have been exchanged
    if asked.images.shape[3] != channels:
        raise Problem(
            400,
            f"The shape of {INPUT} is {list(asked.images.shape)}, but the model takes (pictures, height, width, {channels}).",
        )
    return asked


def _read(text: bytes, raw: memoryview, max_pixels: int) -> _Asked:
    """A request for inference from its JSON and the bytes behind it, with pictures of at most so many pixels; raises Problem."""
    request = messages.parse(text)
    images = _images(request.inputs[0], raw, max_pixels)
    return _Asked(images, _wanted(request), request.parameters.binary_data_output, request.id)


async def _parts(service: Service, request: Request) -> tuple[bytes, memoryview]:
    """The JSON of a request for inference and the bytes behind it, uncompressed; raises Problem where there is no telling or too much."""
    body = await service.body(request)
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        limit = service.settings.max_bytes
        body = await service.run(lambda _: _inflated(body, encoding, limit), pictures=0, size=limit)
    text, raw = tensors.split(body, request.headers.get(_LENGTH))
    if len(text) > JSON_LIMIT:
        raise Problem(
            413, f"The JSON has {len(text):,} bytes, more than {JSON_LIMIT:,}: send the pixels as binary data."
        )
    return text, raw


def _inflated(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before its compression; raises Problem where it is none, or longer than `limit` bytes."""
    if encoding not in ("gzip", "deflate"):
        raise Problem(
            415, f"Content-Encoding may be gzip or deflate, not {encoding!r}.", {"accept-encoding": "gzip, deflate"}
        )
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # reads the headers of both
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise Problem(400, f"The body is no {encoding} data ({error}).") from None
    if len(inflated) > limit:
        raise Problem(413, f"The body is longer than {limit:,} bytes once it is inflated.")
    if not inflater.eof or inflater.unused_data:
        raise Problem(400, f"The body is not one whole {encoding} stream.")
    return inflated


def _images(given: messages.RequestInput, raw: memoryview, max_pixels: int) -> np.ndarray:
    """The pictures (N, h, w, C) uint8 of a request's input; raises Problem."""
    if given.name != INPUT:
        raise Problem(404, f"The model has no input {given.name!r}, only {INPUT!r}.")
    _, height, width, _ = given.shape
    if max(height, width) > LONGEST:
        raise Problem(413, f"A picture has a side of {max(height, width):,} pixels, more than {LONGEST:,}.")
    if height * width > max_pixels:
        raise Problem(413, f"A picture has {height:,} x {width:,} pixels, more than {max_pixels:,}.")
    size = given.parameters.binary_data_size
    if (given.data is None) == (size is None):
        raise Problem(400, "An input needs either data, or binary_data_size and so many bytes behind the JSON.")
    if len(raw) != (size or 0):
        raise Problem(400, f"There are {len(raw):,} bytes behind the JSON, but binary_data_size says {size or 0:,}.")
    return (
        tensors.pixels_of_list(given.data, given.shape) if size is None else tensors.pixels_of_bytes(raw, given.shape)
    )


def _wanted(asked: messages.InferenceRequest) -> list[messages.RequestOutput]:
    """The outputs to answer with; raises Problem where one is unknown or named twice."""
    names = [output.name for output in asked.outputs]
    if unknown := set(names).difference(OUTPUTS):
        raise Problem(404, f"The model has no output {unknown.pop()!r}, only {' and '.join(OUTPUTS)}.")
    if len(names) > len(set(names)):
        raise Problem(400, f"The output {names[0]!r} is asked for twice.")
    return asked.outputs or [messages.RequestOutput(name=name) for name in OUTPUTS]


def _answer(asked: _Asked, bundle: Bundle, results: Mapping[str, np.ndarray]) -> Response:
    outputs, raw = [], []
    for output in asked.outputs:
        tensor, count, binary = results[output.name], output.parameters.classification, output.parameters.binary_data
        if count is not None:
            tensor = tensors.classification(tensor, count, bundle.manifest.classes)
        described = {"name": output.name, "datatype": tensors.DATATYPES[tensor.dtype], "shape": list(tensor.shape)}
        if asked.binary if binary is None else binary:
            raw.append(tensors.to_bytes(tensor))
            outputs.append(
                messages.AnswerOutput(**described, parameters=messages.AnswerParameters(binary_data_size=len(raw[-1])))
            )
        else:
            outputs.append(messages.AnswerOutput(**described, data=tensors.to_list(tensor)))
    answer = messages.InferenceAnswer(
        model_name=bundle.manifest.dataset, model_version=bundle.version, id=asked.id, outputs=outputs
    )
    text = answer.model_dump_json(exclude_none=True).encode()
    if not raw:
        return Response(text, media_type="application/json")
    return Response(b"".join((text, *raw)), media_type="application/octet-stream", headers={_LENGTH: str(len(text))})
