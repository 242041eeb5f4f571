"""What a client is told when its request cannot be answered."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse


class Problem(Exception):
    """Ends a request: answered as the JSON {"error": message} with this status and these headers, whatever raised it."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})

    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.message}, self.status, self.headers)


class Error(BaseModel):
    """The body of every answer that is none."""

    error: str


_MEANINGS = {
    400: "The request is malformed.",
    401: "The API key is missing or wrong.",
    404: "There is nothing of this name.",
    408: "The request did not arrive in time.",
    409: "Not possible in the present state.",
    413: "The request holds more than is taken.",
    415: "The body is of a type that is not taken.",
    422: "What was sent cannot be used.",
    429: "The service is full: try again after as many seconds as the header Retry-After says.",
    503: "The service takes no new requests.",
    504: "The answer was not ready in time.",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's description of the problems of a route."""
    return {status: {"model": Error, "description": _MEANINGS[status]} for status in statuses}
