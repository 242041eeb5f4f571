"""Values as text in the review: numbers, and names that are neither HTML nor Markdown."""

import html
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from markupsafe import Markup

from darkroom.review.significance import Difference

SHOWN = 10  # examples, parameters and files of each kind
MAX_CELL = 80  # characters


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A table in Markdown; all columns but the first are aligned to the right."""
    lines = [[escape(shortened(cell)) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] + ["---:"] * (len(head) - 1))
    return Markup("\n".join(f"| {' | '.join(line)} |" for line in lines))


def pair(old: float | None, new: float | None, shown: Callable, signed: Callable) -> list[str]:
    """Three cells: old, new and their difference; what is None is empty."""
    difference = signed(new - old) if old is not None and new is not None else ""
    return ["" if old is None else shown(old), "" if new is None else shown(new), difference]


def tested(found: Difference | None, signed: Callable) -> list[str]:
    """Two cells: interval and p-value, with an asterisk if significant."""
    if not found:
        return ["", ""]
    return [f"{signed(found.low)} to {signed(found.high)}", p_value(found.p) + Markup(" \\*" * found.significant)]


def shortened(cell: Any) -> Any:
    """A text of at most MAX_CELL characters."""
    is_long = isinstance(cell, str) and not isinstance(cell, Markup) and len(cell) > MAX_CELL
    return f"{cell[: MAX_CELL - 1]}…" if is_long else cell


def percent(fraction: float) -> str:
    """A fraction in percent."""
    return f"{100 * fraction:.2f} %"


def points(fraction: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return f"{round(100 * fraction, 2) + 0:+.2f}"  # + 0: no negative zero


def p_value(p: float) -> Markup:
    """A p-value with two digits."""
    return Markup("< 0.0001" if p < 0.0001 else f"{p:.2g}")


def p_relation(p: float) -> Markup:
    """A p-value in a sentence."""
    return Markup("p ") + (p_value(p) if p < 0.0001 else Markup("= ") + p_value(p))


def value(number: Any) -> str:
    """A parameter or a fact about the data."""
    return f"{number:.6g}" if isinstance(number, float) else str(number)


def listed(items: Sequence[Any], show: Callable[[Any], Markup] | None = None, most: int = SHOWN) -> Markup:
    """The first items, and how many more there are."""
    text = ", ".join((show or escape)(shortened(str(item))) for item in items[:most])
    return Markup(text + (f" and {len(items) - most} more" if len(items) > most else ""))


def code(text: str) -> Markup:
    """A text as code, in which Markdown knows no escapes but that of a table's bar."""
    plain = re.sub(r"[\s`]", " ", text).replace("|", r"\|")
    return Markup(f"`{plain}`")


def escape(text: Any) -> Markup:
    """A value that is neither HTML nor Markdown; what is marked as safe stays."""
    if isinstance(text, Markup):
        return text
    plain = html.escape(re.sub(r"\s", " ", str(text)), quote=False)
    return Markup(re.sub(r"([\\`*_\[\]|~#])", r"\\\1", plain))
