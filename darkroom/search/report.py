"""Write the report of a search: results.json, figures as PNG, and a page, index.html, that needs no network."""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from darkroom.core.outputs import new_folder, require_replaceable, write_json, write_text
from darkroom.figures import drawing
from darkroom.search import figures
from darkroom.search.measure import NAMED
from darkroom.search.results import COSTS

NUMBERS, PAGE = "results.json", "index.html"
_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_TITLES = {
    "costs": "Size and speed",
    "history": "History",
    "importances": "Importance of the parameters",
    "slices": "By parameter",
}


def write(output: Path, found: Mapping[str, Any], sentences: Sequence[str]) -> None:
    """Write the report to the folder `output`, which is replaced; raises DarkroomError if it holds other files."""
    require_replaceable(output, [NUMBERS, PAGE, *(f"{name}.png" for name in _TITLES)])
    with new_folder(output) as folder:
        write_json(folder / NUMBERS, {**found, "sentences": list(sentences)})
        images = {}
        for name, figure in figures.draw(found).items():
            drawing.save(figure, path := folder / f"{name}.png")
            images[name] = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        write_text(folder / PAGE, page(found, sentences, images))


def page(found: Mapping[str, Any], sentences: Sequence[str], images: Mapping[str, str]) -> str:
    """The report as HTML; `images` are data URIs by name."""
    names = [row["parameter"] for row in found["importances"]]
    costs = [cost for cost in COSTS if any(cost in row for row in found["rows"])]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    rows = sorted(found["rows"], key=_order)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        found=found,
        measure=NAMED[found["measure"]],
        sentences=sentences,
        images={_TITLES[name]: images[name] for name in _TITLES if name in images},
        names=names,
        costs={cost: COSTS[cost] for cost in costs},
        rows=rows,
    )


def _order(row: Mapping[str, Any]) -> tuple[bool, float, int]:
    """Complete trials first, and the best first."""
    score = row.get("estimate", row["score"])
    return "estimate" not in row, math.inf if score is None else -score, row["trial"]
