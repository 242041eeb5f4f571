"""POST /v1/predict: classify images."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from darkroom.bundle.classifier import Bundle
from darkroom.bundle.manifest import SetKind
from darkroom.serve import multipart
from darkroom.serve.problems import Error, Problem, responses
from darkroom.serve.service import Outcome, Service

MULTIPART = "multipart/form-data"
FILE = {"type": "string", "format": "binary"}
IMAGE_CONTENT = {  # OpenAPI's description of a body with one image
    kind: {"schema": FILE}
    for kind in (
        *("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"),
        "application/octet-stream",
    )
}
TopK = Annotated[int, Query(ge=1, description="The number of classes to return.")]
WantedSet = Annotated[
    SetKind | None,
    Query(
        alias="set",
        description="Also return the conformal prediction set. It contains the right class with the probability "
        "`conformal.coverage` of /v1/model: in every class, or on average over them (marginal).",
    ),
]
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class ModelVersion(BaseModel):
    """The bundle that was used."""

    version: str = Field(description="The first 12 hex digits of the SHA-256 of the bundle's manifest.")
    sha256: str = Field(description="The SHA-256 of the ONNX file.")


class ClassProbability(BaseModel):
    label: str
    probability: float


class Answer(BaseModel):
    """What the classifier says of one example."""

    label: str = Field(description="The most probable class.")
    confidence: float = Field(description="The probability of this class.")
    abstained: bool = Field(
        description="Whether the confidence is below the bundle's threshold: the prediction is not reliable then. "
        "Always true if the bundle has no threshold."
    )
    classes: list[ClassProbability] = Field(description="The `top_k` most probable classes, most probable first.")
    set: list[str] = Field([], description="With `set`: the classes in the prediction set, most probable first.")


class ImagePrediction(Answer):
    """The prediction for one image."""

    decode_ms: float
    inference_ms: float


class Prediction(ImagePrediction):
    """The response to a request with one image."""

    model: ModelVersion


class Predictions(BaseModel):
    """The response to a request with several files."""

    model: ModelVersion
    results: list[ImagePrediction | Error] = Field(description="One per file, in the order of the files.")


def router(service: Service) -> APIRouter:
    files = {"type": "array", "items": FILE, "minItems": 1, "maxItems": service.settings.max_files}
    form = {"type": "object", "properties": {"files": files}, "required": ["files"]}
    routes = APIRouter()

    @routes.post(
        "/v1/predict",
        summary="Classify images",
        response_model=None,
        responses={200: {"model": Prediction | Predictions}, **responses(400, 408, 413, 415, 422, 429, 504)},
        openapi_extra={"requestBody": {"required": True, "content": IMAGE_CONTENT | {MULTIPART: {"schema": form}}}},
    )
    async def predict(request: Request, top_k: TopK = 5, kind: WantedSet = None) -> Response:
        """Send one image as the body, or several as the files of a form.

        Supported formats: JPEG, PNG, WebP, BMP, TIFF and GIF. The content type of one image is any `image/*` or
        `application/octet-stream`. File fields may have any name; other form fields are ignored. A form file that is
        not a usable image gets an `error` as its result; the other files are not affected.
        """
        media = media_type(request)
        if media == MULTIPART:
            content_type = request.headers["content-type"]
            contents = multipart.files(content_type, await service.body(request), service.settings.max_files)
            outcomes = await service.classify(contents)
            results = [_result(outcome, top_k, kind) for outcome in outcomes]
            return json_response(outcomes[0].bundle, {"results": results})
        if is_image(media):
            [outcome] = await service.classify([await service.body(request)])
            if outcome.error is not None:
                raise unusable(outcome.error)
            return json_response(outcome.bundle, _result(outcome, top_k, kind))
        raise unsupported(media, f"an image as image/*, or files as {MULTIPART}")

    return routes


def media_type(request: Request) -> str:
    """The content type of a request without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_image(kind: str) -> bool:
    """Whether a body of this media type is taken as an image."""
    return kind.startswith("image/") or kind == "application/octet-stream"


def unsupported(kind: str, allowed: str) -> Problem:
    return Problem(415, f"The content type {kind!r} is not supported: send {allowed}.")


def unusable(reason: str) -> Problem:
    return Problem(422, f"The image cannot be used: {reason}.")


def model_version(bundle: Bundle) -> dict[str, str]:
    """The fields of `ModelVersion`."""
    return {"version": bundle.version, "sha256": bundle.sha256}


def json_response(bundle: Bundle, fields: Mapping[str, Any]) -> Response:
    """A response with the bundle's version and `fields`."""
    return Response(_ENCODER.encode({"model": model_version(bundle), **fields}), media_type="application/json")


def answer(bundle: Bundle, probabilities: np.ndarray, top_k: int, kind: SetKind | None) -> dict[str, Any]:
    """The fields of `Answer` for probabilities (K,)."""
    manifest = bundle.manifest
    best = np.argsort(-probabilities, kind="stable")[:top_k].tolist()
    classes = [{"label": manifest.classes[k], "probability": float(probabilities[k])} for k in best]
    label, confidence = classes[0].values()
    found = {"label": label, "confidence": confidence, "abstained": manifest.withholds(confidence), "classes": classes}
    if kind:
        found["set"] = [manifest.classes[k] for k in manifest.conformal.prediction_set(probabilities, kind)]
    return found


def _result(outcome: Outcome, top_k: int, kind: SetKind | None) -> dict[str, Any]:
    """The fields of `ImagePrediction` or `Error`."""
    if outcome.probabilities is None:
        return {"error": outcome.error}
    return {
        **answer(outcome.bundle, outcome.probabilities, top_k, kind),
        "decode_ms": round(outcome.decode_ms, 3),
        "inference_ms": round(outcome.inference_ms, 3),
    }
