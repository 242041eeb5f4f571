"""Agreement of people on the examples that both have labelled.

Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 1960.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from darkroom.datasets.answers import Opinions


@dataclass(frozen=True)
class Agreement:
    """How often two people agree."""

    one: str
    other: str
    examples: int  # that both have labelled; unclear counts as a label
    agreed: int
    kappa: float | None  # 1: always; 0: as often as by chance; None: chance alone agrees always


def pairs(opinions: Opinions) -> list[Agreement]:
    """The agreement of each two people with common examples, most examples first."""
    common: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for labels in opinions.values():
        for one, other in combinations(sorted(labels), 2):
            common.setdefault((one, other), []).append((labels[one], labels[other]))
    found = [
        Agreement(*people, len(both), sum(one == other for one, other in both), kappa(both))
        for people, both in common.items()
    ]
    return sorted(found, key=lambda pair: (-pair.examples, pair.one, pair.other))


def kappa(both: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa, -1..1, of the labels that two people gave to at least one example."""
    total = len(both)
    ones, others = (Counter(labels) for labels in zip(*both, strict=True))
    by_chance = sum(ones[label] * others[label] for label in ones) / total**2
    agreed = sum(one == other for one, other in both) / total
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def disputed(opinions: Opinions) -> Mapping[str, Mapping[str, str]]:
    """The examples on which people do not agree."""
    return {example: labels for example, labels in opinions.items() if len(set(labels.values())) > 1}
