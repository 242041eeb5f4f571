"""The Open Inference Protocol, version 2, over HTTP.

Clients of KServe and Triton, such as NVIDIA's tritonclient.http, work unchanged.

    model     its name is the dataset in the bundle's manifest, its version is the bundle's
    input     images          UINT8 (N, h, w, C), all images of one request have the same size
    outputs   logits          FP32 (N, K)
              probabilities   FP32 (N, K)

Supports the extensions for binary data and classification.
"""

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

JSON_LIMIT = 2**20  # bytes: parsing takes up to 25 times as much memory; larger inputs must be binary
PARSE_INLINE = 2**14  # bytes: parsing longer JSON would block the event loop for more than a millisecond
NOT_READY = 400  # the protocol: "a 4xx status code indicates false"
MAX_SIDE = 2**14  # pixels: the memory of the graph's resize operator grows with the longer side
MAX_VALUES = 2**24  # of one image: resizing takes about 33 bytes for each
_LENGTH = "Inference-Header-Content-Length"
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}  # JSON, then bytes
_REQUEST = {"required": True, "content": {"application/json": {"schema": messages.request_schema()}, **_BYTES}}
_RESPONSE = {
    200: {"model": messages.InferenceResponse, "content": _BYTES, "headers": {_LENGTH: {"schema": {"type": "string"}}}}
}


@dataclass(frozen=True)
class _Address:
    """The model and, optionally, the version in a URL."""

    name: str
    version: str | None = None

    def check(self, bundle: Bundle) -> None:
        """Raise Problem 404 if the bundle has another name or version."""
        if self.name != bundle.manifest.dataset:
            raise Problem(404, f"Model {self.name!r} not found: this service has {bundle.manifest.dataset!r}.")
        if self.version not in (None, bundle.version):
            raise Problem(
                404, f"Version {self.version!r} of {self.name!r} not found: only {bundle.version!r} is served."
            )


@dataclass(frozen=True)
class _Inference:
    """A parsed inference request."""

    images: np.ndarray  # (N, h, w, C) uint8
    outputs: list[messages.RequestOutput]
    binary: bool  # the default for outputs that do not say whether to send bytes
    id: str | None


def router(service: Service) -> APIRouter:
    """The routes under /v2. Requests are parsed and described here: FastAPI would respond 422 to invalid ones."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @routes.get("")
    async def server_metadata(request: Request) -> messages.ServerMetadata:
        """The server's name, version and protocol extensions."""
        return messages.ServerMetadata(
            name="darkroom", version=request.app.version, extensions=["binary_tensor_data", "classification"]
        )

    @routes.get("/health/live")
    async def server_live() -> messages.ServerLive:
        """Liveness probe: whether the process responds."""
        return messages.ServerLive(live=True)

    @routes.get("/health/ready", responses=_not_ready(messages.ServerReady))
    async def server_ready(response: Response) -> messages.ServerReady:
        """Readiness probe: whether the service accepts new requests."""
        response.status_code = 200 if service.welcoming else NOT_READY
        return messages.ServerReady(live=True, ready=response.status_code == 200)

    async def model_metadata(request: Request) -> messages.ModelMetadata:
        """The model's inputs and outputs."""
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
        """Whether the model accepts new requests."""
        address = _Address(**request.path_params)
        address.check(service.bundle)
        response.status_code = 200 if service.welcoming else NOT_READY
        return messages.ModelReady(name=address.name, ready=response.status_code == 200)

    async def infer(request: Request) -> Response:
        """Classify images.

        The body is JSON, or JSON followed by the pixels as bytes. Then the header gives the length of the JSON.
        """
        address = _Address(**request.path_params)
        address.check(service.bundle)
        inference = await _parsed(service, request)
        bundle, *results = await service.infer(inference.images)
        address.check(bundle)  # a reload may have replaced it
        return _response(inference, bundle, dict(zip(OUTPUTS, results, strict=True)))

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
            responses=_RESPONSE | responses(400, 404, 408, 413, 415, 429, 504),
            openapi_extra={"parameters": [*named, length], "requestBody": _REQUEST},
        )
    return routes


def _not_ready(model: type[messages.ServerReady | messages.ModelReady]) -> dict[int | str, dict[str, Any]]:
    return {NOT_READY: {"model": model, "description": "Not ready."}}


def _parameter(name: str, location: str, required: bool, **schema: str) -> dict[str, Any]:
    return {"name": name, "in": location, "required": required, "schema": {"type": "string", **schema}}


async def _parsed(service: Service, request: Request) -> _Inference:
    """Parse an inference request; raises Problem if it is invalid or does not fit the model."""
    text, raw = await _parts(service, request)
    max_pixels = service.max_pixels(service.bundle)
    if len(text) <= PARSE_INLINE:
        inference = _read(text, raw, max_pixels)
    else:
        inference = await service.run(lambda _: _read(text, raw, max_pixels), images=0, size=len(text))
    channels = service.bundle.manifest.shape[2]  # of the current bundle: a reload may have replaced it meanwhile
    if (found := list(inference.images.shape))[3] != channels:
        raise Problem(400, f"The shape of {INPUT} is {found}, but the model needs [images, height, width, {channels}].")
    return inference


def _read(text: bytes, raw: memoryview, max_pixels: int) -> _Inference:
    """An inference request from its JSON and the bytes after it; raises Problem."""
    request = messages.parse(text)
    images = _images(request.inputs[0], raw, max_pixels)
    return _Inference(images, _outputs(request), request.parameters.binary_data_output, request.id)


async def _parts(service: Service, request: Request) -> tuple[bytes, memoryview]:
    """The JSON of an inference request and the bytes after it; raises Problem."""
    body = await service.body(request)
    text, raw = tensors.split(body, request.headers.get(_LENGTH))
    if len(text) > JSON_LIMIT:
        raise Problem(
            413, f"The JSON has {len(text):,} bytes; the limit is {JSON_LIMIT:,}: send the pixels as binary data."
        )
    return text, raw


def _images(given: messages.RequestInput, raw: memoryview, max_pixels: int) -> np.ndarray:
    """The images (N, h, w, C) uint8 of a request's input; raises Problem."""
    if given.name != INPUT:
        raise Problem(404, f"The model has no input {given.name!r}: its input is {INPUT!r}.")
    _, height, width, channels = given.shape
    if max(height, width) > MAX_SIDE:
        raise Problem(413, f"The images have {height:,} x {width:,} pixels; the limit is {MAX_SIDE:,} per side.")
    if height * width > max_pixels:
        raise Problem(413, f"The images have {height:,} x {width:,} pixels; the limit is {max_pixels:,} pixels.")
    if height * width * channels > MAX_VALUES:
        raise Problem(413, f"The images have {height * width * channels:,} values each; the limit is {MAX_VALUES:,}.")
    size = given.parameters.binary_data_size
    if (given.data is None) == (size is None):
        raise Problem(400, "An input needs either data, or binary_data_size and that many bytes after the JSON.")
    if len(raw) != (size or 0):
        raise Problem(400, f"{len(raw):,} bytes follow the JSON, but binary_data_size is {size or 0:,}.")
    if size is None:
        return tensors.pixels_of_list(given.data, given.shape)
    return tensors.pixels_of_bytes(raw, given.shape)


def _outputs(request: messages.InferenceRequest) -> list[messages.RequestOutput]:
    """The requested outputs, or all; raises Problem if one is unknown or listed twice."""
    names = [output.name for output in request.outputs]
    if unknown := set(names).difference(OUTPUTS):
        raise Problem(404, f"The model has no output {unknown.pop()!r}: its outputs are {' and '.join(OUTPUTS)}.")
    if len(names) > len(set(names)):
        raise Problem(400, f"The output {names[0]!r} is listed twice.")
    return request.outputs or [messages.RequestOutput(name=name) for name in OUTPUTS]


def _response(inference: _Inference, bundle: Bundle, results: Mapping[str, np.ndarray]) -> Response:
    outputs, raw = [], []
    for output in inference.outputs:
        tensor, count, binary = results[output.name], output.parameters.classification, output.parameters.binary_data
        if count is not None:
            tensor = tensors.classification(tensor, count, bundle.manifest.classes)
        described = {"name": output.name, "datatype": tensors.DATATYPES[tensor.dtype], "shape": list(tensor.shape)}
        if inference.binary if binary is None else binary:
            raw.append(tensors.to_bytes(tensor))
            parameters = messages.ResponseParameters(binary_data_size=len(raw[-1]))
            outputs.append(messages.ResponseOutput(**described, parameters=parameters))
        else:
            outputs.append(messages.ResponseOutput(**described, data=tensors.to_list(tensor)))
    response = messages.InferenceResponse(
        model_name=bundle.manifest.dataset, model_version=bundle.version, id=inference.id, outputs=outputs
    )
    text = response.model_dump_json(exclude_none=True).encode()
    if not raw:
        return Response(text, media_type="application/json")
    return Response(b"".join((text, *raw)), media_type="application/octet-stream", headers={_LENGTH: str(len(text))})
