"""Explain predictions for sequences: how much each token of a text, or event of a history, supports the prediction.

Each method takes a calibrated network and one sequence of tokens (1, l) int64; it returns a value for each token (l,),
positive where it supports the class.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn
from tqdm import tqdm

from darkroom.core.arrays import Split
from darkroom.core.randomness import numpy_generator
from darkroom.explain import text_page, work
from darkroom.explain.budget import BACKWARD, SECONDS
from darkroom.explain.faithfulness import RANDOM
from darkroom.explain.selection import Shown
from darkroom.models.inference import predict, probabilities
from darkroom.models.sequences import PADDING, SequenceNetwork
from darkroom.tokens.text import Token

GRADIENT_STEPS, CURVE_STEPS = 32, 10
MAX_LOGITS = 2**25  # in memory at a time


def integrated_gradients(network: nn.Module, tokens: Tensor, target: int) -> np.ndarray:
    """What each token adds to the class's logit, relative to the same number of padding tokens.

    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.
    """
    inner: SequenceNetwork = network.network

    def logits(embedded: Tensor, mask: Tensor) -> Tensor:
        return inner.head(inner.features(embedded, mask)) / network.temperature

    embedded, absent = (inner.embedding(some).detach() for some in (tokens, torch.full_like(tokens, PADDING)))
    found = IntegratedGradients(logits).attribute(
        embedded, absent, target, additional_forward_args=(tokens != PADDING,), n_steps=GRADIENT_STEPS
    )
    return found.sum(2)[0].detach().numpy()


def leave_one_out(network: nn.Module, tokens: Tensor, target: int) -> np.ndarray:
    """How much the class's logit drops without each token."""
    length = tokens.shape[1]
    if length == 1:
        return np.zeros(1)
    kept = ~torch.eye(length, dtype=torch.bool)
    with torch.no_grad():
        without = network(tokens.expand(length, -1)[kept].view(length, length - 1))
        return (network(tokens)[0, target] - without[:, target]).numpy()


METHODS: dict[str, Callable[[nn.Module, Tensor, int], np.ndarray]] = {
    "integrated_gradients": integrated_gradients,
    "leave_one_out": leave_one_out,
}


class Sequences:
    """What explanations of texts and histories share; maps are (n, L) float32.

    `classes` are names for people, and `special` the tokens that stand for nothing in the sequence: they always stay,
    and have the value 0.
    """

    words: Sequence[str] = ()  # of the page, see `text_page.html`

    def __init__(
        self,
        network: nn.Module,
        inputs: np.ndarray,
        classes: Sequence[str],
        tokens: int,
        special: Collection[int],
        shown: int,
        wanted: int,
    ):
        self._network, self._classes, self._special = network.eval(), classes, list(special)
        mean = round((inputs != PADDING).sum(1).mean())
        passes = BACKWARD * GRADIENT_STEPS + mean + 2 * (CURVE_STEPS + 1) * (len(METHODS) + 1)
        # On so many of the sequences like inputs (N, L), at most `wanted`, the maps are measured.
        seconds = work.seconds(network, (mean, tokens))
        self.count = min(wanted, max(2, int(SECONDS / (passes * seconds)) - shown))
        self.notes: list[str] = []
        self.facts = {"integrated_gradients_steps": GRADIENT_STEPS, "faithfulness_steps": CURVE_STEPS}

    def maps(self, inputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
        """The values of the tokens of inputs (n, L) int32 for the classes `targets` (n,), by method."""
        found = {name: np.zeros(inputs.shape, np.float32) for name in METHODS}
        rows = tqdm(range(len(inputs)), "explain", unit="sequence", leave=False, disable=None)
        for row in rows:
            held = np.flatnonzero(inputs[row] != PADDING)
            tokens = torch.from_numpy(inputs[row, held].astype(np.int64))[None]
            for name, method in METHODS.items():
                found[name][row, held] = method(self._network, tokens, int(targets[row]))
        special = np.isin(inputs, self._special)
        return {name: np.where(special, 0, values) for name, values in found.items()}

    def measure(
        self, inputs: np.ndarray, targets: np.ndarray, maps: Mapping[str, np.ndarray], seed: int
    ) -> dict[str, np.ndarray]:
        """The probability of the classes `targets` (n,) while tokens are deleted or inserted, by method.

        Tokens are taken in the order of each map, highest value first, in CURVE_STEPS steps; special ones stay. The
        arrays are those of `faithfulness.measure`.
        """
        random, orders = numpy_generator(seed, "order of equal tokens"), {**maps, RANDOM: np.zeros(inputs.shape)}
        movable = ~np.isin(inputs, self._special)
        steps = np.linspace(0, 1, CURVE_STEPS + 1)
        found = {}
        for name, values in orders.items():
            keys = np.where(movable, -values, np.inf)
            ranks = np.lexsort((random.random(inputs.shape), keys)).argsort(1)
            first = ranks[:, None] < (movable.sum(1)[:, None] * steps).round()[..., None]  # (n, steps + 1, L)
            shown = np.stack([~first, first | ~movable[:, None]])
            altered = _packed(np.broadcast_to(inputs[:, None], first.shape), shown & (inputs != PADDING)[:, None])
            wanted = np.broadcast_to(targets[None, :, None], altered.shape[:3])
            answers = self._probabilities(altered.reshape(-1, inputs.shape[1]), wanted.reshape(-1))
            found[name] = answers.reshape(altered.shape[:3])
        return found

    def written(self, test: Split, index: int) -> tuple[str, Sequence[Token]]:
        """An example for people, and where its tokens are in it."""
        raise NotImplementedError

    def draw(self, folder: Path, test: Split, shown: Shown) -> None:
        """Write attributions.html."""
        examples = []
        for row, index in enumerate(shown.indices.tolist()):
            text, tokens = self.written(test, index)
            examples.append(
                text_page.Example(
                    kind=shown.kinds[row],
                    text=text,
                    tokens=tokens,
                    label=self._classes[test.labels[index]],
                    predicted=self._classes[shown.probabilities[row].argmax()],
                    confidence=float(shown.probabilities[row].max()),
                    values={name: values[row, : len(tokens)] for name, values in shown.maps.items()},
                )
            )
        page = text_page.html(examples, shown.notes, *self.words)
        (folder / "attributions.html").write_text(page, encoding="utf-8")

    def _probabilities(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The probability (n,) of one class, of `targets` (n,), for each of inputs (n, L)."""
        size = max(1, MAX_LOGITS // len(self._classes))
        parts = [slice(start, start + size) for start in range(0, len(inputs), size)]
        answers = [
            np.take_along_axis(probabilities(predict(self._network, inputs[part], (), ())), targets[part, None], 1)
            for part in parts
        ]
        return np.concatenate(answers)[:, 0]


def _packed(inputs: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The inputs (..., L) where `kept` (2, ..., L) is true, moved to the start and padded: (2, ..., L) int32."""
    order = np.argsort(~kept, axis=-1, kind="stable")
    moved = np.take_along_axis(np.broadcast_to(inputs, kept.shape), order, -1)
    return np.where(np.take_along_axis(kept, order, -1), moved, PADDING).astype(np.int32)
