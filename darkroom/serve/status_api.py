"""Health probes, the description of the model, and metrics."""

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, TypeAdapter

from darkroom.bundle.classifier import Bundle, Manifest
from darkroom.serve.service import Service
from darkroom.serve.telemetry import CONTENT_TYPE


class Liveness(BaseModel):
    status: Literal["live"] = "live"


class Readiness(BaseModel):
    ready: bool


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
        responses={200: {"content": {"application/json": {"schema": description_schema()}}}},
    )
    async def model() -> dict[str, Any]:
        """The bundle's manifest, with `version` (from the manifest's SHA-256) and `sha256` (of the ONNX file)."""
        return description(service.bundle)

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
    """The public description of a bundle: its manifest without the drift reference."""
    return {"version": bundle.version, "sha256": bundle.sha256, "variant": bundle.variant} | {
        name: value for name, value in asdict(bundle.manifest).items() if name != "reference"
    }


def description_schema() -> dict[str, Any]:
    """The JSON schema of `description`."""
    schema = TypeAdapter(Manifest).json_schema(mode="serialization")
    del schema["properties"]["reference"]
    schema["properties"] |= {name: {"type": "string"} for name in ("version", "sha256", "variant")}
    # FastAPI does not preserve the `prefixItems` that pydantic writes here
    schema["properties"]["shape"] = {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
    schema["required"] = list(schema["properties"])
    return schema
