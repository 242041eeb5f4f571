"""POST /v1/explain: show which parts of an image the prediction depends on."""

import base64
import io

import numpy as np
from fastapi import APIRouter, Request, Response
from PIL import Image
from pydantic import BaseModel, Field

from darkroom.bundle.classifier import Bundle
from darkroom.explain import occlusion
from darkroom.inputs.image import Unusable
from darkroom.serve import predict_api
from darkroom.serve.problems import responses
from darkroom.serve.service import Service


class Window(BaseModel):
    """A part of the image, in pixels of the model's input."""

    top: int
    left: int
    height: int
    width: int


class Explanation(BaseModel):
    """An occlusion map for the most probable class: windows of the image are covered in black, one at a time."""

    label: str = Field(description="The most probable class.")
    probability: float = Field(description="The probability of this class for the whole image.")
    covered: float = Field(description="Its probability with the most important window covered: the lowest of all.")
    window: Window = Field(description="The most important window.")
    map: list[list[float]] = Field(
        description="By row and column: the decrease of the class's log-odds with the pixel covered, averaged over its "
        "windows. Above 0 the pixel is evidence for the class, below 0 against it."
    )
    image: str = Field(description="The pixels that the model saw: a PNG file as a data URI.")
    model: predict_api.ModelVersion


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post(
        "/v1/explain",
        summary="Explain a prediction",
        response_model=None,
        responses={200: {"model": Explanation}, **responses(400, 408, 413, 415, 422, 429, 504)},
        openapi_extra={"requestBody": {"required": True, "content": predict_api.IMAGE_CONTENT}},
    )
    async def explain(request: Request) -> Response:
        """Send one image as the body, as for /v1/predict.

        An explanation costs as much as up to 170 predictions. It takes up to a quarter of the service's queue.
        """
        kind = predict_api.media_type(request)
        if not predict_api.is_image(kind):
            raise predict_api.unsupported(kind, "an image as image/*")
        contents = await service.body(request)
        quarter = (service.settings.queue + 3) // 4  # so that explanations cannot shut out all other requests
        images = min(1 + occlusion.WINDOWS_PER_SIDE**2, quarter)
        return await service.run(lambda bundle: _explained(service, bundle, contents), images, len(contents))

    return routes


def _explained(service: Service, bundle: Bundle, contents: bytes) -> Response:
    """A response with an `Explanation`; raises Problem 422 if `contents` is not a usable image."""
    try:
        image = service.decode(bundle, contents)
    except Unusable as error:
        raise predict_api.unusable(str(error)) from None
    height, width, _ = image.shape
    windows = occlusion.windows(height, width)
    covered, indices = occlusion.distinct(occlusion.covered(image, windows))
    logits, probabilities = (answers[indices] for answers in service.predict(bundle, covered))
    best = int(probabilities[0].argmax())
    scores = occlusion.log_odds(logits / bundle.manifest.temperature, best)
    key = int(scores[1:].argmin())
    rows, columns = windows[key]
    window = Window(
        top=rows.start, left=columns.start, height=rows.stop - rows.start, width=columns.stop - columns.start
    )
    explanation = {
        "label": bundle.manifest.classes[best],
        "probability": float(probabilities[0, best]),
        "covered": float(probabilities[1 + key, best]),
        "window": window.model_dump(),
        "map": occlusion.score_drops(scores, windows, height, width).round(4).tolist(),
        "image": _data_uri(image),
    }
    return predict_api.json_response(bundle, explanation)


def _data_uri(image: np.ndarray) -> str:
    """An image (H, W, C) uint8 as the data URI of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
