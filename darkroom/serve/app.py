"""The complete HTTP application."""

from functools import cache
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from darkroom.core.spelling import NOUNS, plural
from darkroom.serve import (
    admin_api,
    docs_page,
    history_api,
    inference_protocol,
    page,
    predict_api,
    status_api,
    table_api,
    text_api,
)
from darkroom.serve.access_log import AccessLog
from darkroom.serve.gate import Gate, is_guarded
from darkroom.serve.problems import Error, Problem, responses
from darkroom.serve.query import require_known
from darkroom.serve.service import Service

_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
ROUTERS = {
    "image": (predict_api, status_api, inference_protocol, page, admin_api),
    "text": (text_api, status_api, inference_protocol, page, admin_api),
    "table": (table_api, status_api, admin_api),
    "history": (history_api, status_api, inference_protocol, page, admin_api),
}


def build(service: Service, log: AccessLog) -> ASGIApp:
    """All routes of `service` behind the gate, which records each request in `log`."""
    app = FastAPI(
        title="Darkroom",
        version="1",
        description=f"A classifier of {plural(NOUNS[service.bundle.manifest.kind])}.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(require_known)],
    )
    kind = service.bundle.manifest.kind
    for part in ROUTERS[kind]:
        app.include_router(part.router(service))
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_parameter)
    app.add_exception_handler(Exception, _unexpected)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page.html(app.openapi()))

    if service.settings.api_key:
        without_key = app.openapi
        app.openapi = cache(lambda: _with_key(without_key()))  # FastAPI's documented way to extend the document
    return Gate(app, [*app.openapi()["paths"], *page.FILES.get(kind, ()), "/docs", "/openapi.json"], service, log)


async def _problem(_: Request, problem: Problem) -> JSONResponse:
    return problem.response()


async def _http_exception(_: Request, error: HTTPException) -> JSONResponse:
    """The router's own errors: an unknown path, or a method that the path does not support."""
    headers = dict(error.headers or {})
    if "GET" in headers.get("Allow", ""):
        headers["Allow"] = "GET, HEAD"  # the gate handles HEAD
    return Problem(error.status_code, f"{error.detail}.", headers).response()


async def _invalid_parameter(_: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    return Problem(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}.").response()


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    return Problem(500, "Internal error. The service's log has the traceback.").response()


def _with_key(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with the security schemes of the paths that need the API key."""
    document.setdefault("components", {})["securitySchemes"] = _SECURITY_SCHEMES
    [(status, response)] = responses(401).items()
    unauthorized = {
        "description": response["description"],
        "content": {"application/json": {"schema": Error.model_json_schema()}},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values() if is_guarded(path) else []:
            operation["security"] = [{name: []} for name in _SECURITY_SCHEMES]
            operation["responses"][str(status)] = unauthorized
    return document
