"""The web page at /, for trying the model in a browser. It uses POST /v1/predict and POST /v1/explain."""

from pathlib import Path

from fastapi import APIRouter

from darkroom.serve import explain_api, static
from darkroom.serve.service import Service

FILES = {  # by URL path: request paths are never used as file paths
    "/": "index.html",
    **{f"/page/{name}": name for name in ("page.css", "page.js", "answer.js", "drawing.js", "service.js")},
}
_FOLDER = Path(__file__).with_name("page")


def router(service: Service) -> APIRouter:
    """The routes of the page's files and of the explanation that it shows."""
    routes = APIRouter()
    for path, name in FILES.items():
        routes.add_route(path, static.file(_FOLDER / name), ["GET"], include_in_schema=False)
    routes.include_router(explain_api.router(service))
    return routes
