"""The web page at /, for trying the model in a browser. It uses the routes of predictions and of explanations."""

from pathlib import Path

from fastapi import APIRouter

from darkroom.serve import explain_api, history_explain_api, static, text_explain_api
from darkroom.serve.service import Service

_SHARED = ("page.css", "frame.js", "numbers.js", "service.js")


def _files(markup: str, *others: str) -> dict[str, str]:
    return {"/": markup, **{f"/page/{name}": name for name in (*_SHARED, *others)}}


FILES = {  # by kind of examples and URL path: request paths are never used as file paths
    "image": _files("index.html", "page.js", "prediction.js", "answer.js", "drawing.js"),
    "text": _files("texts.html", "texts.js", "prediction.js", "tokens.js", "texts.css"),
    "history": _files("histories.html", "histories.js", "finder.js", "histories.css"),
}
EXPLANATIONS = {"image": explain_api, "text": text_explain_api, "history": history_explain_api}
_FOLDER = Path(__file__).with_name("page")


def router(service: Service) -> APIRouter:
    """The routes of the page's files and of the explanation that it shows."""
    routes, kind = APIRouter(), service.bundle.manifest.kind
    for path, name in FILES[kind].items():
        routes.add_route(path, static.file(_FOLDER / name), ["GET"], include_in_schema=False)
    routes.include_router(EXPLANATIONS[kind].router(service))
    return routes
