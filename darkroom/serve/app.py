"""The whole HTTP application of a service."""

from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from darkroom.serve import admin_api, docs_page, inference_protocol, page, predict_api, status_api
from darkroom.serve.access_log import AccessLog
from darkroom.serve.gate import Gate, is_guarded
from darkroom.serve.problems import Error, Problem, responses
from darkroom.serve.service import Service

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def build(service: Service, log: AccessLog) -> ASGIApp:
    """The routes of `service` behind their gate, which notes every request in `log`."""
    app = FastAPI(
        title="Darkroom",
        version="1",
        description="Classifies pictures.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for part in (
        predict_api,
        status_api,
        inference_protocol,
        page,
        *([admin_api] if service.settings.allow_reload else []),
    ):
        app.include_router(part.router(service))
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_parameter)
    app.add_exception_handler(Exception, _unexpected)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page.html(app.openapi()))

    if service.settings.api_key:
        plain = app.openapi
        app.openapi = cache(lambda: _with_key(plain()))  # the way to extend it that FastAPI documents
    return Gate(app, [*app.openapi()["paths"], *page.FILES, "/docs", "/openapi.json"], service, log)


async def _problem(_: Request, problem: Problem) -> JSONResponse:
    return problem.response()


async def _http_exception(_: Request, error: HTTPException) -> JSONResponse:
    """What the router itself refuses: an unknown path, or a method that is not for it."""
    return Problem(error.status_code, f"{error.detail}.", error.headers).response()


async def _invalid_parameter(_: Request, error: RequestValidationError) -> JSONResponse:
    mistake = error.errors()[0]
    return Problem(400, f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}.").response()


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    return Problem(500, "The service failed at this request; its log says why.").response()


def _with_key(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document, which says now where the API key is needed."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    [(status, response)] = responses(401).items()
    answer = {
        "description": response["description"],
        "content": {"application/json": {"schema": Error.model_json_schema()}},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values() if is_guarded(path) else []:
            operation["security"] = [{name: []} for name in _SCHEMES]
            operation["responses"][str(status)] = answer
    return document
