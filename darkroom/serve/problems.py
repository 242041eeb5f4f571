"""Error responses of the API."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse


class Problem(Exception):
    """Ends a request with this HTTP status, these headers and the JSON body {"error": message}."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})

    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.message}, self.status, self.headers)


class Error(BaseModel):
    """Why a request or an image failed."""

    error: str


_MEANINGS = {
    400: "The request is malformed.",
    401: "The API key is missing or wrong.",
    403: "The request comes from another web page.",
    404: "Not found.",
    408: "The request did not arrive in time.",
    409: "Not possible in the current state.",
    413: "The request or an image in it is too large.",
    415: "The content type or content encoding is not supported.",
    422: "The content cannot be used.",
    429: "The service is full. Retry after the number of seconds in the header Retry-After.",
    503: "The service accepts no new requests.",
    504: "The response was not ready in time.",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` argument for these error statuses."""
    return {status: {"model": Error, "description": _MEANINGS[status]} for status in statuses}
