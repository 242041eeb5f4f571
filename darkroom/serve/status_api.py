"""Health probes, the description of the model, and metrics."""

from dataclasses import asdict, replace
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, TypeAdapter

from darkroom.bundle import drift
from darkroom.bundle.classifier import KINDS, Bundle
from darkroom.serve.service import Service
from darkroom.serve.telemetry import CONTENT_TYPE


class Liveness(BaseModel):
    status: Literal["live"] = "live"


class Readiness(BaseModel):
    ready: bool


class Drift(BaseModel):
    index: float | None = Field(description="Population stability index; null: too few images.")
    p_value: float | None = Field(
        description="Of the last complete window, corrected for all features and windows; null: there is none yet."
    )


class DriftReport(BaseModel):
    images: int = Field(description="Latest images that the indices describe.")
    window: int = Field(description="Images in a complete window.")
    windows: int = Field(description="Complete windows so far; the p-values describe the last one.")
    features: dict[str, Drift]


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["status"])

    @routes.get("/health/live", summary="Liveness probe")
    async def live() -> Liveness:
        """Whether the process responds."""
        return Liveness()

    @routes.get(
        "/health/ready", summary="Readiness probe", responses={503: {"model": Readiness, "description": "Not ready."}}
    )
    async def ready(response: Response) -> Readiness:
        """Whether new requests are welcome: not before a shutdown, nor while all workers are past the time limit."""
        response.status_code = 200 if service.welcoming else 503
        return Readiness(ready=response.status_code == 200)

    @routes.get(
        "/v1/model",
        summary="Describe the model",
        responses={
            200: {"content": {"application/json": {"schema": description_schema(service.bundle.manifest.kind)}}}
        },
    )
    async def model() -> dict[str, Any]:
        """The bundle's manifest, with `version` (from the manifest's SHA-256) and `sha256` (of the ONNX file)."""
        return description(service.bundle)

    @routes.get("/v1/drift", summary="Compare recent images with the validation set")
    async def compare() -> DriftReport:
        """How large a change is (`index`), and whether chance explains it (`p_value`), since the bundle was loaded.

        If nothing has changed, the probability that any p-value is ever below 0.01 is at most 1 %.
        """
        found = service.drift()
        features = {
            feature: Drift(index=found.indices.get(feature), p_value=found.p_values.get(feature))
            for feature in drift.features(service.bundle.manifest.reference)
        }
        return DriftReport(images=found.images, window=found.window, windows=found.windows, features=features)

    @routes.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics() -> Response:
        """Requests, latencies, queue length, predicted classes, confidence, abstentions and drift."""
        return Response(service.metrics(), media_type=CONTENT_TYPE)

    return routes


def description(bundle: Bundle) -> dict[str, Any]:
    """The public description of a bundle: its manifest without the drift reference, and without thousands of items."""
    hidden = _hidden(bundle.manifest.kind)
    shown = asdict(replace(bundle.manifest, **{name: () for name in hidden}))  # asdict copies all that is in it
    return {"version": bundle.version, "sha256": bundle.sha256, "variant": bundle.variant} | {
        name: value for name, value in shown.items() if name not in hidden
    }


def _hidden(kind: str) -> tuple[str, ...]:
    """The fields of a manifest that are not shown. GET /v1/items shows the classes of histories."""
    return ("reference", "classes") if kind == "history" else ("reference",)


def description_schema(kind: str = "image") -> dict[str, Any]:
    """The JSON schema of `description`, for a bundle of this kind."""
    schema = TypeAdapter(KINDS[kind]).json_schema(mode="serialization")
    for name in _hidden(kind):
        del schema["properties"][name]
    schema["properties"] |= {name: {"type": "string"} for name in ("version", "sha256", "variant")}
    dimensions = {"image": 3, "text": 2, "history": 3}.get(kind)
    # FastAPI does not preserve the `prefixItems` that pydantic writes here
    schema["properties"]["shape"] = {"type": "array", "items": {"type": "integer"}} | (
        {"minItems": dimensions, "maxItems": dimensions} if dimensions else {}
    )
    schema["required"] = list(schema["properties"])
    return schema
