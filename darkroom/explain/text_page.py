"""A page of texts, or histories, whose parts are coloured by how much they support the predicted class."""

import html as markup
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.core.spelling import confusion
from darkroom.explain.verdict import TITLES
from darkroom.tokens.text import Token

SUPPORTS, OPPOSES = "230, 97, 1", "94, 60, 153"  # red, green, blue: orange and purple, as in the figures of images
_STYLE = """
body { font: 15px/1.7 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem } table { border-collapse: collapse; margin-bottom: 1rem; width: 100% }
th { text-align: left; font-weight: normal; color: #666; width: 11rem; vertical-align: top } td { padding: .1rem .3rem }
"""


@dataclass(frozen=True)
class Example:
    """One text with its prediction, and a value for each of its tokens by method."""

    kind: str
    text: str
    tokens: Sequence[Token]
    label: str
    predicted: str
    confidence: float
    values: Mapping[str, np.ndarray]


def html(
    examples: Sequence[Example],
    notes: Sequence[str],
    parts: str = "words",
    answer: str = "label → prediction",
    predicted: str = "predicted class",
) -> str:
    """The page; examples of one kind follow each other.

    `parts` names the tokens, `answer` label and prediction, and `predicted` the latter.
    """
    blocks, kind = [], ""
    for example in examples:
        if example.kind != kind:
            kind = example.kind
            blocks.append(f"<h2>{markup.escape(kind.capitalize())}</h2>")
        rows = "".join(
            f'<tr><th>{markup.escape(TITLES[name])}</th><td dir="auto">{"".join(_coloured(example, values))}</td></tr>'
            for name, values in example.values.items()
        )
        given = f"{confusion(example.label, example.predicted)}, {example.confidence:.1%}"
        blocks.append(f"<table><tr><th>{answer}</th><td>{markup.escape(given)}</td></tr>{rows}</table>")
    said = "".join(f"<p>{markup.escape(note)}</p>" for note in notes)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Which {parts} the network uses</title>'
        f"<style>{_STYLE}</style><h1>Which {parts} the network uses</h1><p>Orange {parts} support the {predicted}, "
        f"purple ones oppose it; each row has its own scale.</p>{said}{''.join(blocks)}</html>\n"
    )


def _coloured(example: Example, values: np.ndarray) -> Iterator[str]:
    """The text in pieces, as markup: what belongs to no token is not coloured."""
    limit, done = float(np.abs(values).max()) or 1.0, 0
    for token, value in zip(example.tokens, values.tolist(), strict=True):
        if token.end <= max(done, token.start):
            continue
        start = max(done, token.start)  # tokens of bytes may share a character
        yield markup.escape(example.text[done:start])
        colour = SUPPORTS if value > 0 else OPPOSES
        piece = markup.escape(example.text[start : token.end])
        yield f'<span style="background: rgba({colour}, {abs(value) / limit * 0.8:.2f})">{piece}</span>'
        done = token.end
    yield markup.escape(example.text[done:])
