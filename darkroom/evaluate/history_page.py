"""A page of histories with what is recommended after them."""

import html as markup
from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.figures.drawing import CORRECT

LATEST = 15  # items of a history that are shown
_STYLE = f"""
body {{ font: 14px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
section {{ display: grid; grid-template-columns: 1fr 1fr; gap: 0 2rem; border-top: 1px solid #ccc; padding: .8rem 0 }}
h2 {{ grid-column: 1 / 3; font-size: 1rem; margin: 0 0 .3rem }} h3 {{ font-size: .9rem; margin: 0; color: #666 }}
ol {{ margin: .2rem 0; padding-left: 1.6rem }} .hit {{ color: {CORRECT}; font-weight: 600 }} small {{ color: #666 }}
"""


@dataclass(frozen=True)
class Recommended:
    """An item of a list of recommendations."""

    name: str
    probability: float
    is_next: bool


@dataclass(frozen=True)
class Example:
    """A history, the item that came next and its rank, and what is recommended, the best first."""

    id: str
    history: Sequence[str]  # names of items, oldest first
    following: str
    rank: int
    recommended: Sequence[Recommended]


def html(examples: Sequence[Example]) -> str:
    """The page."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Histories and recommendations</title>'
        f"<style>{_STYLE}</style><h1>Histories and recommendations</h1><p>Random test examples. The item that came "
        f"next is blue if it is among the recommended ones. Probabilities are among all items.</p>"
        f"{''.join(map(_section, examples))}</html>\n"
    )


def _section(example: Example) -> str:
    latest = example.history[::-1][:LATEST]
    more = len(example.history) - len(latest)
    earlier = f"<small>and {more:,} earlier</small>" if more else ""
    had = "".join(f"<li>{markup.escape(name)}</li>" for name in latest)
    given = "".join(
        f"<li{' class=hit' if one.is_next else ''}>{markup.escape(one.name)} <small>{one.probability:.1%}</small></li>"
        for one in example.recommended
    )
    title = f"{markup.escape(example.id)}: next was {markup.escape(example.following)}, at rank {example.rank:,}"
    return (
        f'<section><h2>{title}</h2><div dir="auto"><h3>history, latest first</h3><ol>{had}</ol>{earlier}</div>'
        f'<div dir="auto"><h3>recommended</h3><ol>{given}</ol></div></section>'
    )
