"""POST /v1/predict for a classifier of texts: the class, and the answer that the dataset's tables give for it."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from darkroom.bundle.manifest import SetKind
from darkroom.serve import predict_api, text_work
from darkroom.serve.inference_protocol import JSON_LIMIT
from darkroom.serve.predict_api import Answer, ModelVersion, TopK, WantedSet, json_response, media_type, unsupported
from darkroom.serve.problems import Error, Problem, responses
from darkroom.serve.service import Served, Service
from darkroom.serve.text_work import Outcome
from darkroom.tokens.text import MAX_CHARACTERS, Unusable

PLAIN, JSON = "text/plain", "application/json"
PLAIN_LIMIT = 4 * MAX_CHARACTERS  # bytes: a character has at most four in UTF-8
TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS}  # OpenAPI's description of a text


class SimilarQuestion(BaseModel):
    """The frequently asked question that is most similar to the text."""

    question: str
    answer: str
    similarity: float = Field(description="Cosine similarity of the embeddings, -1 to 1.")


class TextPrediction(Answer):
    """The prediction for one text."""

    answer: str | None = Field(
        description="The answer for this class; null if there is none, or if `handover` is true."
    )
    handover: bool = Field(description="Whether a person should answer, because the classifier abstains.")
    faq: SimilarQuestion | None = Field(description="Null if the bundle has no frequently asked questions.")
    tokens: int = Field(description="The number of tokens that the model read.")
    cut: bool = Field(description="Whether the text is longer, so that the model read only its beginning.")
    inference_ms: float = Field(description="Of the model run, which may be of several texts.")


class Prediction(TextPrediction):
    """The response to a request with one text."""

    model: ModelVersion


class Predictions(BaseModel):
    """The response to a request with several texts."""

    model: ModelVersion
    results: list[TextPrediction | Error] = Field(description="One per text, in their order.")


def router(service: Service) -> APIRouter:
    limit = service.settings.max_files
    several = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": limit}
    fields = {"oneOf": [_object("text", TEXT), _object("texts", several)]}
    routes = APIRouter()

    @routes.post(
        "/v1/predict",
        summary="Classify texts",
        response_model=None,
        responses={200: {"model": Prediction | Predictions}, **responses(400, 408, 413, 415, 422, 429, 504)},
        openapi_extra={
            "requestBody": {"required": True, "content": {PLAIN: {"schema": TEXT}, JSON: {"schema": fields}}}
        },
    )
    async def predict(
        request: Request,
        top_k: TopK = 5,
        kind: WantedSet = None,
        language: Annotated[
            str, Query(max_length=35, description="Of the answer, such as `de`; else one that the bundle has.")
        ] = "",
    ) -> Response:
        """Send one text as the body, in UTF-8, or JSON: {"text": "..."} or {"texts": ["...", "..."]}.

        In a list, a text that cannot be used gets an `error` as its result; the other texts are not affected.
        """
        given = await texts_of(service, request)
        texts = given if isinstance(given, list) else [given]
        if len(texts) > limit:
            raise Problem(413, f"The request has {len(texts):,} texts, more than {limit:,}.")

        def work(served: Served) -> Response:
            outcomes = text_work.classify(service.telemetry, served, texts)
            results = [_result(served, outcome, top_k, kind, language) for outcome in outcomes]
            if isinstance(given, list):
                return json_response(served.bundle, {"results": results})
            if isinstance(outcomes[0], Unusable):
                raise unusable(outcomes[0])
            return json_response(served.bundle, results[0])

        return await service.work(work, len(texts), text_work.require_size(texts))

    return routes


async def texts_of(service: Service, request: Request) -> str | list[str]:
    """The text or the texts in the body of a request; raises Problem 400, 413 or 415."""
    media, charset = media_type(request), ""
    for part in request.headers.get("content-type", "").lower().split(";")[1:]:
        name, _, value = part.partition("=")
        charset = value.strip(' "') if name.strip() == "charset" else charset
    if media not in (PLAIN, JSON) or charset not in ("", "utf-8", "utf8", "us-ascii"):
        found = f"{media}; charset={charset}" if charset else media
        raise unsupported(found, f"a text as {PLAIN} in UTF-8, or {JSON}")
    if media == PLAIN:
        return _decoded(await service.body(request, PLAIN_LIMIT))
    return await service.parsed(_given, await service.body(request, JSON_LIMIT))


def unusable(reason: Unusable) -> Problem:
    return Problem(422, f"The text cannot be used: {reason}.")


def _object(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem(400, f"The text is not UTF-8 (byte {error.start + 1:,}).") from None


def _given(body: bytes) -> str | list[str]:
    """The text or the texts in a JSON body; raises Problem 400."""
    try:
        values = json.loads(_decoded(body))
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not JSON.") from None
    match values:
        case {"text": str(one), **others} if not others:
            return one
        case {"texts": [_, *_] as several, **others} if not others and all(isinstance(one, str) for one in several):
            return several
    raise Problem(400, 'The body must be {"text": "..."} or {"texts": ["...", "..."]}.')


def _result(
    served: Served, found: Outcome | Unusable, top_k: int, kind: SetKind | None, language: str
) -> dict[str, Any]:
    """The fields of `TextPrediction` or `Error`."""
    if isinstance(found, Unusable):
        return {"error": str(found)}
    about = predict_api.answer(served.bundle, found.probabilities, top_k, kind)
    return {
        **about,
        "answer": None if about["abstained"] else served.texts.answer(about["label"], language),
        "handover": about["abstained"],
        "faq": found.faq,
        "tokens": found.tokens,
        "cut": found.cut,
        "inference_ms": round(found.inference_ms, 3),
    }
