"""The Open Inference Protocol, version 2, over HTTP.

Clients of KServe and Triton, such as NVIDIA's tritonclient.http, work unchanged.

    model     its name is the dataset in the bundle's manifest, its version is the bundle's
    input     images          UINT8 (N, h, w, C), all images of one request have the same size; or
              texts           BYTES (N) or (N, 1), in UTF-8; or
              items           BYTES (N, L), ids of items in UTF-8, oldest first, "" where a history has fewer
    outputs   logits          FP32 (N, K)
              probabilities   FP32 (N, K)

Supports the extensions for binary data and classification.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from darkroom.bundle.classifier import OUTPUTS, Bundle
from darkroom.serve import inference_histories, inference_images, inference_texts, tensors
from darkroom.serve import inference_messages as messages
from darkroom.serve.problems import Problem, responses
from darkroom.serve.service import Service

JSON_LIMIT = 2**20  # bytes: parsing takes up to 25 times as much memory; larger inputs must be binary
NOT_READY = 400  # the protocol: "a 4xx status code indicates false"
KINDS = {"image": inference_images, "text": inference_texts, "history": inference_histories}
_LENGTH = "Inference-Header-Content-Length"
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}  # JSON, then bytes
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

    inputs: Any  # as the kind of examples reads them
    outputs: list[messages.RequestOutput]
    binary: bool  # the default for outputs that do not say whether to send bytes
    id: str | None


def router(service: Service) -> APIRouter:
    """The routes under /v2. Requests are parsed and described here: FastAPI would respond 422 to invalid ones."""
    routes, kind = APIRouter(prefix="/v2", tags=["Open Inference Protocol"]), KINDS[service.bundle.manifest.kind]
    schema = messages.request_schema(kind.REQUEST)
    body = {"required": True, "content": {"application/json": {"schema": schema}, **_BYTES}}

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
        outputs = [
            messages.TensorMetadata(name=name, datatype="FP32", shape=[-1, len(bundle.manifest.classes)])
            for name in OUTPUTS
        ]
        return messages.ModelMetadata(
            name=bundle.manifest.dataset,
            versions=[bundle.version],
            platform="onnxruntime_onnx",
            inputs=[kind.metadata(bundle)],
            outputs=outputs,
        )

    async def model_ready(request: Request, response: Response) -> messages.ModelReady:
        """Whether the model accepts new requests."""
        address = _Address(**request.path_params)
        address.check(service.bundle)
        response.status_code = 200 if service.welcoming else NOT_READY
        return messages.ModelReady(name=address.name, ready=response.status_code == 200)

    async def infer(request: Request) -> Response:
        """Classify images or texts, or score the items that come next after histories.

        The body is JSON, or JSON followed by the input as bytes. Then the header gives the length of the JSON.
        """
        address = _Address(**request.path_params)
        address.check(service.bundle)
        inference = await _parsed(service, request)
        bundle, *results = await kind.infer(service, inference.inputs)
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
            openapi_extra={"parameters": [*named, length], "requestBody": body},
        )
    return routes


def _not_ready(model: type[messages.ServerReady | messages.ModelReady]) -> dict[int | str, dict[str, Any]]:
    return {NOT_READY: {"model": model, "description": "Not ready."}}


def _parameter(name: str, location: str, required: bool, **schema: str) -> dict[str, Any]:
    return {"name": name, "in": location, "required": required, "schema": {"type": "string", **schema}}


async def _parsed(service: Service, request: Request) -> _Inference:
    """Parse an inference request; raises Problem if it is invalid or does not fit the model."""
    text, raw = await _parts(service, request)
    return await service.parsed(lambda text: _read(service, text, raw), text)


def _read(service: Service, text: bytes, raw: memoryview) -> _Inference:
    """An inference request from its JSON and the bytes after it; raises Problem."""
    kind = KINDS[service.bundle.manifest.kind]
    request = messages.parse(text, kind.REQUEST)
    given = request.inputs[0]
    if given.name != kind.NAME:
        raise Problem(404, f"The model has no input {given.name!r}: its input is {kind.NAME!r}.")
    if (given.data is None) == (given.parameters.binary_data_size is None):
        raise Problem(400, "An input needs either data, or binary_data_size and that many bytes after the JSON.")
    if len(raw) != (size := given.parameters.binary_data_size or 0):
        raise Problem(400, f"{len(raw):,} bytes follow the JSON, but binary_data_size is {size:,}.")
    inputs = kind.read(service, given, raw)
    return _Inference(inputs, _outputs(request), request.parameters.binary_data_output, request.id)


async def _parts(service: Service, request: Request) -> tuple[bytes, memoryview]:
    """The JSON of an inference request and the bytes after it; raises Problem."""
    body = await service.body(request)
    text, raw = tensors.split(body, request.headers.get(_LENGTH))
    if len(text) > JSON_LIMIT:
        raise Problem(
            413, f"The JSON has {len(text):,} bytes; the limit is {JSON_LIMIT:,}: send the input as binary data."
        )
    return text, raw


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
