"""POST /v1/predict for a classifier of texts: the class, and the answer that the dataset's table gives for it."""

import json
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from darkroom.bundle.classifier import Bundle
from darkroom.bundle.manifest import SetKind
from darkroom.serve.predict_api import ClassProbability, ModelVersion, json_response, media_type, unsupported
from darkroom.serve.problems import Error, Problem, responses
from darkroom.serve.service import Service
from darkroom.tokens.text import Unusable

PLAIN, JSON = "text/plain", "application/json"


class TextPrediction(BaseModel):
    """The prediction for one text."""

    label: str = Field(description="The most probable class.")
    confidence: float = Field(description="The probability of this class.")
    abstained: bool = Field(
        description="Whether the confidence is below the bundle's threshold: the prediction is not reliable then."
    )
    answer: str | None = Field(
        description="The answer for this class; null if there is none, or if `handover` is true."
    )
    handover: bool = Field(description="Whether a person should answer, because the classifier abstains.")
    classes: list[ClassProbability] = Field(description="The `top_k` most probable classes, most probable first.")
    set: list[str] = Field([], description="With `set`: the classes in the prediction set, most probable first.")
    tokens: int = Field(description="The number of tokens that the model saw; a longer text is cut.")


class Prediction(TextPrediction):
    """The response to a request with one text."""

    model: ModelVersion


class Predictions(BaseModel):
    """The response to a request with several texts."""

    model: ModelVersion
    results: list[TextPrediction | Error] = Field(description="One per text, in their order.")


def router(service: Service) -> APIRouter:
    limit = service.settings.max_files
    one, several = {"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": limit}
    fields = {"oneOf": [_object("text", one), _object("texts", several)]}
    routes = APIRouter()

    @routes.post(
        "/v1/predict",
        summary="Classify texts",
        response_model=None,
        responses={200: {"model": Prediction | Predictions}, **responses(400, 408, 413, 415, 422, 429, 504)},
        openapi_extra={
            "requestBody": {"required": True, "content": {PLAIN: {"schema": one}, JSON: {"schema": fields}}}
        },
    )
    async def predict(
        request: Request,
        top_k: Annotated[int, Query(ge=1, description="The number of classes to return.")] = 5,
        kind: Annotated[
            SetKind | None, Query(alias="set", description="Also return the conformal prediction set.")
        ] = None,
    ) -> Response:
        """Send one text as the body, in UTF-8, or JSON: {"text": "..."} or {"texts": ["...", "..."]}."""
        media = media_type(request)
        if media not in (PLAIN, JSON):
            raise unsupported(media, f"a text as {PLAIN}, or {JSON}")
        body = await service.body(request)
        given = _given(body, limit) if media == JSON else _decoded(body)
        texts = given if isinstance(given, list) else [given]
        bundle, results = await service.classify_texts(texts, lambda *found: _result(*found, top_k, kind))
        if isinstance(given, list):
            return json_response(bundle, {"results": results})
        if "error" in results[0]:
            raise Problem(422, f"The text cannot be used: {results[0]['error']}.")
        return json_response(bundle, results[0])

    return routes


def _object(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name]}


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Problem(400, "The text is not UTF-8.") from None


def _given(body: bytes, limit: int) -> str | list[str]:
    """The text or the texts in a JSON body; raises Problem 400 or 413."""
    try:
        values = json.loads(_decoded(body))
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not JSON.") from None
    found = values.get("text", values.get("texts")) if isinstance(values, dict) and len(values) == 1 else None
    if isinstance(found, str):
        return found
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise Problem(400, 'The body must be {"text": "..."} or {"texts": ["...", "..."]}.')
    if len(found) > limit:
        raise Problem(413, f"The request has {len(found):,} texts, more than {limit:,}.")
    return found


def _result(
    bundle: Bundle,
    answers: dict[str, str],
    found: tuple[np.ndarray, int] | Unusable,
    top_k: int,
    kind: SetKind | None,
) -> dict[str, Any]:
    """The fields of `TextPrediction` or `Error`, for probabilities (K,) and the number of tokens."""
    if isinstance(found, Unusable):
        return {"error": str(found)}
    (probabilities, tokens), manifest = found, bundle.manifest
    best = np.argsort(-probabilities, kind="stable")[:top_k].tolist()
    classes = [{"label": manifest.classes[k], "probability": float(probabilities[k])} for k in best]
    label, confidence = classes[0]["label"], classes[0]["probability"]
    abstained = manifest.withholds(confidence)
    chosen = [manifest.classes[k] for k in manifest.conformal.prediction_set(probabilities, kind)] if kind else None
    return {
        "label": label,
        "confidence": confidence,
        "abstained": abstained,
        "answer": None if abstained else answers.get(label),
        "handover": abstained,
        "classes": classes,
        **({"set": chosen} if kind else {}),
        "tokens": tokens,
    }
