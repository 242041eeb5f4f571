"""Send the files of a web page: each is read once, has an ETag, and a content security policy without exceptions."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import Request, Response

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
HEADERS = {
    "Cache-Control": "no-cache",  # browsers may store it, but must revalidate it with its ETag
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """A handler that responds with the file as it is when the service starts."""
    contents, media_type = path.read_bytes(), _TYPES[path.suffix]
    headers = {**HEADERS, "ETag": f'"{hashlib.sha256(contents).hexdigest()[:16]}"'}

    async def respond(request: Request) -> Response:
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(contents, headers=headers, media_type=media_type)

    return respond
