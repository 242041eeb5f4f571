"""POST /v1/reload and /v1/rollback: another bundle without a pause. Off unless --allow-reload."""

from fastapi import APIRouter

from darkroom.core.errors import DarkroomError
from darkroom.serve.predict_api import Model, model_of
from darkroom.serve.problems import Problem, responses
from darkroom.serve.service import Service


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["administration"])

    @routes.post("/reload", summary="Serve what is in the bundle's folder now", responses=responses(422))
    async def reload() -> Model:
        """Checks every digest and the golden answers first; where they are not right, the present bundle stays in use. Requests under way end
        with the bundle that they began with."""
        try:
            return Model(**model_of(await service.reload()))
        except DarkroomError as error:
            raise Problem(422, str(error)) from error

    @routes.post("/rollback", summary="Serve the bundle before the present one", responses=responses(409))
    async def rollback() -> Model:
        """A second call goes forward again."""
        return Model(**model_of(await service.rollback()))

    return routes
