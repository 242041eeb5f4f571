"""Tables of measurements, in Markdown."""

import statistics
from collections.abc import Iterable, Sequence


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with one line per row."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def median_range(values: Sequence[float], digits: int = 1) -> str:
    """Median and range of some measurements: `2.0 (1.5 to 3.0)`."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
