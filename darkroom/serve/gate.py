"""What every request passes before and after the routes: the API key, the refusal of what is too much, the account of how it ended."""

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

GUARDED = ("/v1/", "/v2", "/metrics")  # by the API key
OPEN = ("/v2/health/",)  # all the same, for probes
WORK = {
    "/v1/predict",
    "/v1/explain",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
}  # what takes up pictures
_PAUSE = (
    0.05  # seconds until a refusal: clients that come again at once would take the processor from those that are served
)
_logger = logging.getLogger("darkroom.serve")


class Gate:
    """An ASGI application around another one: plain ASGI, since every request pays for it, and a refused one for nothing else."""

    def __init__(self, app: ASGIApp, routes: Iterable[str], service: Service, log: AccessLog):
        """`routes` are the paths of `app`, with their parameters in braces."""
        self._app, self._service, self._log = app, service, log
        self._paths = {route for route in routes if "{" not in route}
        self._patterns = {route: compile_path(route)[0] for route in routes if "{" in route}
        self._key = (service.settings.api_key or "").encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status, work, route = perf_counter(), 0, Work(), self._route(scope["path"])

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if not self._service.ready:  # whoever comes again is to find another server
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        token = CURRENT.set(work)
        try:
            if problem := self._refusal(scope, route):
                if problem.status == 429:
                    await asyncio.sleep(_PAUSE)
                await problem.response()(scope, receive, noting)
            else:
                await self._app(scope, receive, noting)
        except Exception:
            _logger.exception(
                "%s %s failed", scope["method"], route
            )  # the application has answered, and raises it for the log
        finally:
            CURRENT.reset(token)
            seconds = perf_counter() - started
            self._service.telemetry.ended(route, status, seconds)
            self._log.add(scope["method"], route, status, seconds, work)

    def _refusal(self, scope: Scope, route: str) -> Problem | None:
        """Why a request goes no further, found out without a look at its body."""
        if self._key and is_guarded(scope["path"]) and not self._is_known(scope):
            return Problem(
                401,
                "Send the API key, as Authorization: Bearer KEY or as X-API-Key: KEY.",
                {"www-authenticate": "Bearer"},
            )
        if self._service.admission.full and scope["method"] == "POST" and route in WORK:
            return refusal()
        return None

    def _is_known(self, scope: Scope) -> bool:
        """Whether the key is there, and no wrong one beside it; to compare a nearly right one takes as long."""
        sent = list(_keys(scope))
        return bool(sent) and all([hmac.compare_digest(key, self._key) for key in sent])

    def _route(self, path: str) -> str:
        """The route that a path belongs to, "-" for none: paths can be made up without end, routes cannot."""
        if path in self._paths:
            return path
        return next((route for route, pattern in self._patterns.items() if pattern.match(path)), "-")


def is_guarded(path: str) -> bool:
    """Whether the API key is needed there, if there is one."""
    return path.startswith(GUARDED) and not path.startswith(OPEN)


def _keys(scope: Scope) -> Iterator[bytes]:
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            yield value
        elif name == b"authorization":
            scheme, _, key = value.partition(b" ")
            yield key.strip() if scheme.lower() == b"bearer" else b""
