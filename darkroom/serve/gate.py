"""ASGI middleware for every request: checks the API key, refuses requests to a full service, logs and counts."""

import asyncio
import hmac
import logging
from collections.abc import Iterable, Iterator
from time import perf_counter

from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom.serve.access_log import CURRENT, AccessLog, Work
from darkroom.serve.admission import refusal
from darkroom.serve.problems import Problem
from darkroom.serve.service import Service

GUARDED = ("/v1/", "/v2", "/metrics")  # need the API key
OPEN = ("/v2/health/",)  # except these, for probes
WORK = {  # routes that process images, or other examples
    "/v1/predict",
    "/v1/recommend",
    "/v1/explain",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
}
_REFUSAL_DELAY = 0.05  # seconds: clients that retry at once would otherwise take CPU time from accepted requests
_logger = logging.getLogger("darkroom.serve")


class Gate:
    """An ASGI application around another one. Plain ASGI, as it adds to the time of every request."""

    def __init__(self, app: ASGIApp, routes: Iterable[str], service: Service, log: AccessLog):
        """`routes` are the paths of `app`, with path parameters in braces."""
        self._app, self._service, self._log = app, service, log
        self._paths = {route for route in routes if "{" not in route}
        self._patterns = {route: compile_path(route)[0] for route in routes if "{" in route}
        self._key = (service.settings.api_key or "").encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status, work, route = perf_counter(), 0, Work(), self._route(scope["path"])

        async def recording(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not self._service.ready:  # the next request of this client should reach another server
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        token = CURRENT.set(work)
        try:
            if problem := self._refusal(scope, route):
                if problem.status == 429:
                    await asyncio.sleep(_REFUSAL_DELAY)
                await problem.response()(scope, receive, recording)
            else:
                # HEAD is answered like GET: FastAPI's routes have no HEAD
                inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
                await self._app(inner, receive, recording)
        except Exception:  # the application has sent a response before it raised this
            _logger.exception("%s %s failed", scope["method"], route)
        finally:
            CURRENT.reset(token)
            seconds = perf_counter() - started
            self._service.telemetry.ended(route, status, seconds)
            self._log.add(scope["method"], route, status, seconds, work)

    def _refusal(self, scope: Scope, route: str) -> Problem | None:
        """Why a request is refused before its body is read, if it is."""
        if self._key and is_guarded(scope["path"]) and not self._has_key(scope):
            return Problem(
                401,
                "The API key is missing or wrong: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
                {"www-authenticate": "Bearer"},
            )
        if self._service.admission.full and scope["method"] == "POST" and route in WORK:
            return refusal()
        return None

    def _has_key(self, scope: Scope) -> bool:
        """Whether the key was sent, and no wrong key with it. Compares in constant time."""
        sent = list(_keys(scope))
        return bool(sent) and all([hmac.compare_digest(key, self._key) for key in sent])

    def _route(self, path: str) -> str:
        """The route of a path, or "-": label values must be few, but clients can request any number of paths."""
        if path in self._paths:
            return path
        return next((route for route, pattern in self._patterns.items() if pattern.match(path)), "-")


def is_guarded(path: str) -> bool:
    """Whether a path needs the API key, if one is set."""
    return path.startswith(GUARDED) and not path.startswith(OPEN)


def _keys(scope: Scope) -> Iterator[bytes]:
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            yield value
        elif name == b"authorization":
            scheme, _, key = value.partition(b" ")
            yield key.strip() if scheme.lower() == b"bearer" else b""
