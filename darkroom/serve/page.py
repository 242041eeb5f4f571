"""The web page at /, for trying the model in a browser. It uses POST /v1/predict and POST /v1/explain."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter, Request, Response

from darkroom.serve import explain_api
from darkroom.serve.service import Service

FILES = {  # by URL path: request paths are never used as file paths
    "/": "index.html",
    **{f"/page/{name}": name for name in ("page.css", "page.js", "answer.js", "drawing.js", "service.js")},
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_FOLDER = Path(__file__).with_name("page")
_HEADERS = {
    "Cache-Control": "no-cache",  # browsers may store it, but must revalidate it with its ETag
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def router(service: Service) -> APIRouter:
    """The routes of the page's files and of the explanation that it shows."""
    routes = APIRouter()
    for path, name in FILES.items():
        routes.add_route(path, _file(_FOLDER / name), ["GET"], include_in_schema=False)
    routes.include_router(explain_api.router(service))
    return routes


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """A handler that responds with the file as it is when the service starts."""
    contents, media_type = path.read_bytes(), _TYPES[path.suffix]
    headers = {**_HEADERS, "ETag": f'"{hashlib.sha256(contents).hexdigest()[:16]}"'}

    async def respond(request: Request) -> Response:
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(contents, headers=headers, media_type=media_type)

    return respond
