"""POST /v1/explain for a classifier of texts: how much the prediction depends on each token."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from darkroom.serve import text_work
from darkroom.serve.predict_api import ModelVersion, json_response
from darkroom.serve.problems import Problem, responses
from darkroom.serve.service import Served, Service
from darkroom.serve.text_api import JSON, PLAIN, TEXT, texts_of, unusable
from darkroom.tokens.text import Unusable


class Part(BaseModel):
    """A piece of the text."""

    text: str
    value: float | None = Field(
        description="The decrease of the class's log-odds without this piece. Above 0 it is evidence for the class, "
        "below 0 against it. Null: the model does not read it."
    )


class Explanation(BaseModel):
    """The effect of leaving out each token of a text on its most probable class."""

    label: str = Field(description="The most probable class.")
    probability: float = Field(description="The probability of this class for the whole text.")
    cut: bool = Field(description="Whether the model read only the beginning of the text.")
    parts: list[Part] = Field(description="Together they are the text, in Unicode's form NFC.")
    model: ModelVersion


def router(service: Service) -> APIRouter:
    one = {"type": "object", "properties": {"text": TEXT}, "required": ["text"], "additionalProperties": False}
    routes = APIRouter()

    @routes.post(
        "/v1/explain",
        summary="Explain a prediction",
        response_model=None,
        responses={200: {"model": Explanation}, **responses(400, 408, 413, 415, 422, 429, 504)},
        openapi_extra={"requestBody": {"required": True, "content": {PLAIN: {"schema": TEXT}, JSON: {"schema": one}}}},
    )
    async def explain(request: Request) -> Response:
        """Send one text, as for /v1/predict.

        An explanation costs as much as up to 65 predictions. It takes up to a quarter of the service's queue.
        """
        given = await texts_of(service, request)
        if isinstance(given, list):
            raise Problem(400, "Only one text can be explained at a time.")
        quarter = (service.settings.queue + 3) // 4  # so that explanations cannot shut out all other requests
        texts = min(1 + text_work.PARTS, quarter)
        return await service.work(lambda served: _explained(served, given), texts, len(given))

    return routes


def _explained(served: Served, given: str) -> Response:
    """A response with an `Explanation`; raises Problem 422 if the text cannot be used."""
    try:
        found = text_work.explain(served, given)
    except Unusable as reason:
        raise unusable(reason) from None
    parts = [{"text": piece, "value": value if value is None else round(value, 4)} for piece, value in found.parts]
    label = served.bundle.manifest.classes[found.best]
    fields = {"label": label, "probability": found.probability, "cut": found.cut, "parts": parts}
    return json_response(served.bundle, fields)
