"""POST /v1/predict: pictures in, classes with their probabilities out."""

import json
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from darkroom.bundle.classifier import Bundle
from darkroom.serve import multipart
from darkroom.serve.problems import Error, Problem, responses
from darkroom.serve.service import Outcome, Service

MULTIPART = "multipart/form-data"
PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")

_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class Model(BaseModel):
    """Which bundle answered."""

    version: str = Field(description="The first 12 hex digits of its manifest's SHA-256.")
    sha256: str = Field(description="Of the ONNX file.")


class Class(BaseModel):
    label: str
    probability: float


class Answer(BaseModel):
    """What a picture shows."""

    label: str = Field(description="The most probable class.")
    confidence: float = Field(description="Its probability.")
    abstained: bool = Field(
        description="Whether the confidence is below the bundle's threshold, so that the answer should not be relied on."
    )
    classes: list[Class] = Field(description="The `top_k` most probable classes, the most probable first.")
    decode_ms: float
    inference_ms: float


class Prediction(Answer):
    model: Model


class Predictions(BaseModel):
    model: Model
    results: list[Answer | Error] = Field(description="One for each file, in their order.")


def router(service: Service) -> APIRouter:
    file = {"type": "string", "format": "binary"}
    files = {"type": "array", "items": file, "minItems": 1, "maxItems": service.settings.max_files}
    form = {"type": "object", "properties": {"files": files}, "required": ["files"], "additionalProperties": False}
    content = {kind: {"schema": file} for kind in PICTURES} | {MULTIPART: {"schema": form}}
    routes = APIRouter()

    @routes.post(
        "/v1/predict",
        summary="Classify pictures",
        response_model=None,
        responses={200: {"model": Prediction | Predictions}, **responses(400, 408, 413, 415, 422, 429, 504)},
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def predict(
        request: Request, top_k: Annotated[int, Query(ge=1, description="How many classes to name.")] = 5
    ) -> Response:
        """One picture as the body (JPEG, PNG, WebP, BMP, TIFF or GIF; any `image/*` type or `application/octet-stream`), or several as
        the files of a form, under any name. A file of a form that is no usable picture has an `error` in its place and fails no other."""
        content_type = request.headers.get("content-type", "")
        match content_type.partition(";")[0].strip().lower():
            case "multipart/form-data":
                contents = multipart.files(content_type, await service.body(request), service.settings.max_files)
                outcomes = await service.pictures(contents)
                answer: dict[str, Any] = {"results": [_result(outcome, top_k) for outcome in outcomes]}
            case kind if kind.startswith("image/") or kind == "application/octet-stream":
                outcomes = await service.pictures([await service.body(request)])
                answer = _result(outcomes[0], top_k)
                if "error" in answer:
                    raise Problem(422, f"The picture cannot be used: {answer['error']}.")
            case kind:
                raise Problem(
                    415, f"The content type {kind!r} is not taken: send a picture as image/*, or files as {MULTIPART}."
                )
        return Response(
            _ENCODER.encode({"model": model_of(outcomes[0].bundle), **answer}), media_type="application/json"
        )

    return routes


def model_of(bundle: Bundle) -> dict[str, str]:
    return {"version": bundle.version, "sha256": bundle.sha256}


def _result(outcome: Outcome, top_k: int) -> dict[str, Any]:
    if outcome.probabilities is None:
        return {"error": outcome.error}
    names, probabilities = outcome.bundle.manifest.classes, outcome.probabilities
    best = np.argsort(-probabilities, kind="stable")[:top_k].tolist()
    classes = [{"label": names[k], "probability": float(probabilities[k])} for k in best]
    return {
        "label": names[best[0]],
        "confidence": classes[0]["probability"],
        "abstained": outcome.abstained,
        "classes": classes,
        "decode_ms": round(outcome.decode_ms, 3),
        "inference_ms": round(outcome.inference_ms, 3),
    }
