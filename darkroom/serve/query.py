"""Query parameters: under /v1, a misspelt one is refused instead of ignored."""

from fastapi import Request

from darkroom.serve.problems import Problem


async def require_known(request: Request) -> None:
    """A FastAPI dependency that raises Problem 400 if a query parameter is not one of the route's.

    Probes and other protocols' routes are not checked: monitors and gateways add parameters of their own.
    """
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    for name in request.query_params if request.url.path.startswith("/v1/") else ():
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise Problem(400, f"{name!r} is not a query parameter of {request.url.path}; allowed: {allowed}.")
