"""The page at /, to try the service in a browser. It asks POST /v1/predict and POST /v1/explain as any client does."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter, Request, Response

from darkroom.serve import explain_api
from darkroom.serve.service import Service

FILES = {  # by path: no part of a request's ever reaches the disk
    "/": "index.html",
    **{f"/page/{name}": name for name in ("page.css", "page.js", "answer.js", "drawing.js", "service.js")},
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_FOLDER = Path(__file__).with_name("page")
_HEADERS = {
    "Cache-Control": "no-cache",  # kept, but asked about with its ETag each time
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def router(service: Service) -> APIRouter:
    """The page's files, and the explanation that it shows."""
    routes = APIRouter()
    for path, name in FILES.items():
        routes.add_route(path, _file(_FOLDER / name), ["GET"], include_in_schema=False)
    routes.include_router(explain_api.router(service))
    return routes


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """Answers with the file as it is now."""
    contents, media_type = path.read_bytes(), _TYPES[path.suffix]
    headers = {**_HEADERS, "ETag": f'"{hashlib.sha256(contents).hexdigest()[:16]}"'}

    async def answer(request: Request) -> Response:
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(contents, headers=headers, media_type=media_type)

    return answer
