"""POST /v1/reload and /v1/rollback: replace the bundle without downtime. Enabled by --allow-reload."""

from fastapi import APIRouter

from darkroom.core.errors import DarkroomError
from darkroom.serve.predict_api import ModelVersion, model_version
from darkroom.serve.problems import Problem, responses
from darkroom.serve.service import Service


def router(service: Service) -> APIRouter:
    """The routes, or, without --allow-reload, undocumented ones that name the option."""
    routes = APIRouter(prefix="/v1", tags=["administration"])
    if not service.settings.allow_reload:
        for path in ("/reload", "/rollback"):
            routes.add_api_route(path, _disabled, methods=["POST"], include_in_schema=False)
        return routes

    @routes.post("/reload", summary="Load the bundle again", responses=responses(422))
    async def reload() -> ModelVersion:
        """Load what is in the bundle's folder now.

        The service first verifies all digests and the golden examples. If a check fails, the current bundle stays in
        use. Requests in progress finish with the bundle that they started with.
        """
        try:
            return ModelVersion(**model_version(await service.reload()))
        except DarkroomError as error:
            raise Problem(422, str(error)) from error

    @routes.post("/rollback", summary="Return to the previous bundle", responses=responses(409))
    async def rollback() -> ModelVersion:
        """Return to the bundle before the last reload. A second call undoes the first."""
        return ModelVersion(**model_version(await service.rollback()))

    return routes


async def _disabled() -> None:
    raise Problem(404, "Reload and rollback are disabled: start the service with --allow-reload.")
