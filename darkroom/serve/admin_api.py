"""POST /v1/reload and /v1/rollback: replace the bundle without downtime. Enabled by --allow-reload."""

import ipaddress
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request

from darkroom.core.errors import DarkroomError
from darkroom.serve.predict_api import ModelVersion, model_version
from darkroom.serve.problems import Problem, responses
from darkroom.serve.service import Service


def router(service: Service) -> APIRouter:
    """The routes, or, without --allow-reload, undocumented ones that name the option."""
    routes = APIRouter(prefix="/v1", tags=["administration"])

    async def refuse_other_pages(request: Request) -> None:
        """Any web page that someone visits could send these requests, which have no key that it would need to know."""
        origin, host = request.headers.get("origin"), urlsplit(f"//{request.headers.get('host', '')}")
        is_own = origin is None or (urlsplit(origin).netloc == host.netloc and _is_address(host.hostname or ""))
        if not is_own and not service.settings.api_key:
            raise Problem(
                403,
                "The request is of a web page that is not of this address: set an API key, or send it with another "
                "program.",
            )

    if not service.settings.allow_reload:
        for path in ("/reload", "/rollback"):
            routes.add_api_route(path, _disabled, methods=["POST"], include_in_schema=False)
        return routes

    guarded = [Depends(refuse_other_pages)]

    @routes.post("/reload", summary="Load the bundle again", responses=responses(403, 422), dependencies=guarded)
    async def reload() -> ModelVersion:
        """Load what is in the bundle's folder now.

        The service first verifies all digests and the golden examples. If a check fails, the current bundle stays in
        use. Requests in progress finish with the bundle that they started with.
        """
        try:
            return ModelVersion(**model_version(await service.reload()))
        except DarkroomError as error:
            raise Problem(422, str(error)) from error

    @routes.post(
        "/rollback", summary="Return to the previous bundle", responses=responses(403, 409), dependencies=guarded
    )
    async def rollback() -> ModelVersion:
        """Return to the bundle before the last reload. A second call undoes the first."""
        return ModelVersion(**model_version(await service.rollback()))

    return routes


def _is_address(host: str) -> bool:
    """Whether a host is this machine or an IP address; another name may belong to whoever wrote a page."""
    try:
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


async def _disabled() -> None:
    raise Problem(404, "Reload and rollback are disabled: start the service with --allow-reload.")
