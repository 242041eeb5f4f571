"""POST /v1/explain: a picture in, what the model looked at in it out."""

import base64
import io
import json
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from PIL import Image
from pydantic import BaseModel, Field

from darkroom.bundle.classifier import Bundle
from darkroom.explain import occlusion
from darkroom.inputs.image import Unusable
from darkroom.serve.predict_api import PICTURES, Model
from darkroom.serve.problems import Problem, responses
from darkroom.serve.service import Service


class Window(BaseModel):
    """A part of the picture, in pixels of the model's input."""

    top: int
    left: int
    height: int
    width: int


class Explanation(BaseModel):
    """What speaks for the most probable class, by covering windows of the picture in black, one at a time."""

    label: str = Field(description="The most probable class.")
    probability: float = Field(description="Of that class, for the picture as it is.")
    covered: float = Field(description="The same with the most telling window covered: the lowest of all windows.")
    window: Window = Field(description="The most telling one.")
    map: list[list[float]] = Field(
        description="By row and column: how much the class's log-odds fall with a pixel covered, the mean over its windows."
    )
    picture: str = Field(description="The pixels that the model saw, a PNG as a data URI.")
    model: Model


def router(service: Service) -> APIRouter:
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in PICTURES}
    routes = APIRouter()

    @routes.post(
        "/v1/explain",
        summary="Show what the model looked at",
        response_model=None,
        responses={200: {"model": Explanation}, **responses(400, 408, 413, 415, 422, 429, 504)},
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )
    async def explain(request: Request) -> Response:
        """One picture as the body, as for /v1/predict. It costs as much as up to 170 pictures, and takes up to a quarter of the service's queue."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not kind.startswith("image/") and kind != "application/octet-stream":
            raise Problem(415, f"The content type {kind!r} is not taken: send a picture as image/*.")
        contents = await service.body(request)
        places = min(
            1 + occlusion.SIDE**2, (service.settings.queue + 3) // 4
        )  # else one person's look would shut others out
        answer = await service.run(lambda bundle: _explained(service, bundle, contents), places, len(contents))
        return Response(answer, media_type="application/json")

    return routes


def _explained(service: Service, bundle: Bundle, contents: bytes) -> str:
    """An `Explanation` as JSON; raises Problem 422 for what is no usable picture."""
    try:
        image = service.decode(bundle, contents)
    except Unusable as error:
        raise Problem(422, f"The picture cannot be used: {error}.") from None
    height, width, _ = image.shape
    windows = occlusion.windows(height, width)
    logits, probabilities = service.answer(bundle, occlusion.covered(image, windows))
    best = int(probabilities[0].argmax())
    scores = occlusion.log_odds(logits / bundle.manifest.temperature, best)
    telling = int(scores[1:].argmin())
    answer = {
        "label": bundle.manifest.classes[best],
        "probability": float(probabilities[0, best]),
        "covered": float(probabilities[1 + telling, best]),
        "window": _place(windows[telling]),
        "map": occlusion.falls(scores, windows, height, width).round(4).tolist(),
        "picture": _png(image),
        "model": {"version": bundle.version, "sha256": bundle.sha256},
    }
    return json.dumps(answer, allow_nan=False, separators=(",", ":"))


def _place(window: occlusion.Window) -> dict[str, Any]:
    rows, columns = window
    return {
        "top": rows.start,
        "left": columns.start,
        "height": rows.stop - rows.start,
        "width": columns.stop - columns.start,
    }


def _png(image: np.ndarray) -> str:
    """A picture (H, W, C) uint8 as a data URI."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
