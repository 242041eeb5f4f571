"""How the service is and what it serves: probes, the model's description, metrics."""

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, TypeAdapter

from darkroom.bundle.classifier import Bundle, Manifest
from darkroom.serve.service import Service
from darkroom.serve.telemetry import CONTENT_TYPE


class Live(BaseModel):
    status: Literal["live"] = "live"


class Ready(BaseModel):
    ready: bool


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["status"])

    @routes.get("/health/live", summary="Liveness probe")
    async def live() -> Live:
        """Whether the process answers."""
        return Live()

    @routes.get(
        "/health/ready", summary="Readiness probe", responses={503: {"model": Ready, "description": "Not ready"}}
    )
    async def ready(response: Response) -> Ready:
        """Whether new requests are welcome: not while the service drains, before it ends."""
        response.status_code = 200 if service.ready else 503
        return Ready(ready=service.ready)

    @routes.get(
        "/v1/model",
        summary="What is served",
        responses={200: {"content": {"application/json": {"schema": description_schema()}}}},
    )
    async def model() -> dict[str, Any]:
        """The bundle's manifest, and what identifies it: `version` by the manifest, `sha256` by the ONNX file."""
        return description(service.bundle)

    @routes.get(
        "/metrics",
        summary="Measurements for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics() -> Response:
        """Requests, latencies, queue, predicted classes, confidence, abstentions, drift."""
        return Response(service.metrics(), media_type=CONTENT_TYPE)

    return routes


def description(bundle: Bundle) -> dict[str, Any]:
    """What clients may know of a bundle."""
    return {"version": bundle.version, "sha256": bundle.sha256, "variant": bundle.variant} | {
        name: value for name, value in asdict(bundle.manifest).items() if name != "reference"
    }


def description_schema() -> dict[str, Any]:
    """The JSON schema of `description`."""
    schema = TypeAdapter(Manifest).json_schema(mode="serialization")
    del schema["properties"]["reference"]
    schema["properties"] |= {name: {"type": "string"} for name in ("version", "sha256", "variant")}
    schema["properties"]["shape"] = {
        "type": "array",
        "items": {"type": "integer"},
        "minItems": 3,
        "maxItems": 3,
    }  # FastAPI spoils its `prefixItems`
    schema["required"] = list(schema["properties"])
    return schema
