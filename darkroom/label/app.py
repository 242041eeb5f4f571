"""The HTTP application of the label page. Only pages of this address may use it."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response

from darkroom.core.errors import DarkroomError
from darkroom.label.guess import Guesses
from darkroom.label.journal import NotSaved
from darkroom.label.session import OutOfTurn, Session, UnknownClass
from darkroom.serve import static

FILES = {  # by URL path: request paths are never used as file paths
    "/": "index.html",
    **{f"/page/{name}": name for name in ("page.css", "page.js", "classes.js", "server.js")},
}
_FOLDER = Path(__file__).with_name("page")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_STATUS = {UnknownClass: 422, OutOfTurn: 409, NotSaved: 507}
_Next = Callable[[Request], Awaitable[Response]]


class Turn(BaseModel):
    """An action of the page on the example that it shows."""

    model_config = ConfigDict(extra="forbid", strict=True)
    turn: str


class Answered(Turn):
    """An answer: a class, or an empty text for unclear."""

    label: str


def build(session: Session, guesses: Guesses, about: dict[str, Any]) -> FastAPI:
    """All routes; `about` is what the page shows besides the state of `session`."""
    app = FastAPI(title="Darkroom labels", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.middleware("http")(_same_address)
    for path, name in FILES.items():
        app.add_route(path, static.file(_FOLDER / name), ["GET"], include_in_schema=False)
    app.add_exception_handler(DarkroomError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)

    # The handlers that change the session are coroutines: they run one after the other.
    @app.get("/v1/session")
    async def opened() -> dict[str, Any]:
        return {**about, **session.state()}

    @app.post("/v1/answer")
    async def answer(given: Answered) -> dict[str, Any]:
        return session.answer(given.turn, given.label)

    @app.post("/v1/skip")
    async def skip(given: Turn) -> dict[str, Any]:
        return session.skip(given.turn)

    @app.post("/v1/undo")
    async def undo(given: Turn) -> dict[str, Any]:
        return session.undo(given.turn)

    @app.get("/v1/agreement")
    async def agreement() -> list[dict[str, Any]]:
        return session.agreement()

    @app.get("/v1/guess/{key}")
    def guess(key: str) -> dict[str, Any]:
        return guesses.of(_known(session, key))

    @app.get("/v1/input/{key}")
    def content(key: str) -> Response:
        contents, media_type, remark = guesses.inputs.encoded(_known(session, key).id)
        return Response(contents, headers={**_HEADERS, "X-Remark": json.dumps(remark)}, media_type=media_type)

    return app


_HEADERS = {**static.HEADERS, "Cache-Control": "no-store"}  # the file of an example may change


def _known(session: Session, key: str) -> Any:
    if key not in session.by_key:
        raise OutOfTurn("This example is not in the list any more: reload the page.")
    return session.by_key[key]


async def _same_address(request: Request, call_next: _Next) -> Response:
    """Refuse requests that another web page sends: by its own name for this address, or as a form."""
    host, origin = urlsplit(f"//{request.headers.get('host', '')}"), request.headers.get("origin")
    if host.hostname not in _LOOPBACK or (origin and urlsplit(origin).netloc != host.netloc):
        return JSONResponse({"error": "Only the page at this address may use it."}, 403)
    if request.method == "POST" and request.headers.get("content-type") != "application/json":
        return JSONResponse({"error": "The content type must be application/json."}, 415)
    return await call_next(request)


async def _refused(_: Request, error: DarkroomError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, _STATUS.get(type(error), 404))


async def _malformed(_: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}."}, 400)
