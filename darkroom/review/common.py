"""The test examples that two results have in common, under the same labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.review import recommended
from darkroom.review.recommended import RANK
from darkroom.review.result import GROUP, PROBABILITY, Result
from darkroom.review.significance import grouped

MAX_RELABELLED = 0.5  # the fraction above which two results are not of one data set
_OWN = ("id", "label", "predicted", "confidence", PROBABILITY, GROUP, RANK)


@dataclass(frozen=True)
class Common:
    """Predictions of both sides for the same N examples, sorted by id.

    `old` and `new` have the columns of the predictions; both have the new labels, and the old predictions of a renamed
    class have its new name.
    """

    old: pd.DataFrame
    new: pd.DataFrame
    only_old: int  # test examples of one side alone
    only_new: int
    renamed: Mapping[str, str]  # the old name of a class -> its new name
    relabelled: np.ndarray  # (N,) bool: the examples whose label differs, renamed classes aside
    slices: Sequence[str]  # the columns of the user's manifest by which the new result is sliced

    @property
    def labels(self) -> np.ndarray:
        """The new labels (N,) object."""
        return self.new["label"].to_numpy()

    @property
    def is_ranked(self) -> bool:
        """Whether the results are recommendations."""
        return RANK in self.old and RANK in self.new

    @property
    def correct(self) -> tuple[np.ndarray, np.ndarray]:
        """The old and the new predictions (N,) bool that are correct; of recommendations those that are hits."""
        if self.is_ranked:
            return recommended.hits(self.old), recommended.hits(self.new)
        return self.old["predicted"].to_numpy() == self.labels, self.new["predicted"].to_numpy() == self.labels

    @property
    def is_same(self) -> bool:
        """Whether both sides have the same predictions."""
        return all((self.old[name] == self.new[name]).all() for name in ("predicted", *[RANK] * self.is_ranked))

    @cached_property
    def groups(self) -> np.ndarray | None:
        """The number (N,) int64 of each example's group, as the newer side that names it; None if independent."""
        named = [side[GROUP].to_numpy() for side in (self.new, self.old) if GROUP in side]
        return grouped(named[0]) if named else None

    @property
    def is_all(self) -> bool:
        """Whether both sides have the same examples with the same labels."""
        return not (self.only_old or self.only_new or self.relabelled.any())


def find(old: Result, new: Result) -> Common:
    """The common test examples. Raises DarkroomError if there are none, or if most have another label.

    Recommendations with another label are not common: the rank of the other label is unknown.
    """
    ids = np.intersect1d(old.predictions["id"], new.predictions["id"])
    where = f"{old.revision.name} and {new.revision.name}"
    if not len(ids):
        raise DarkroomError(
            f"{where} have no test example in common, so they cannot be compared: evaluate both on the same test set."
        )
    wanted = new.params.get("evaluate.slices") or ()
    before, after = (one.predictions[one.predictions["id"].isin(ids)].reset_index(drop=True) for one in (old, new))
    renamed = _renamed(before, after)
    before = before.assign(label=before["label"].replace(renamed), predicted=before["predicted"].replace(renamed))
    relabelled = (before["label"] != after["label"]).to_numpy()
    if relabelled.mean() > MAX_RELABELLED:
        first = after[relabelled].iloc[0]
        raise DarkroomError(
            f"{where} are results of different data, so they cannot be compared: of "
            f"{counted(len(ids), 'common test example')}, {relabelled.sum():,} have another label, for example "
            f"{first['id']} ({first['label']})."
        )
    if RANK in before and RANK in after:
        before, after = (side[~relabelled].reset_index(drop=True) for side in (before, after))
        relabelled = relabelled[~relabelled]
    return Common(
        before.assign(label=after["label"]),
        after,
        len(old.predictions) - len(after),
        len(new.predictions) - len(after),
        renamed,
        relabelled,
        [name for name in after if name not in _OWN or (name == GROUP and GROUP in wanted)],
    )


def _renamed(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, str]:
    """The classes whose old name is gone and whose examples mostly have one new name, which nothing had before."""
    names = [{*side["label"], *side["predicted"]} for side in (old, new)]
    gone, added = old["label"].isin(names[0] - names[1]), new["label"].isin(names[1] - names[0])
    if not (gone & added).any():
        return {}
    table = pd.crosstab(old["label"][gone | added], new["label"][gone | added])
    forth, back = table.idxmax(axis=1), table.idxmax(axis=0)
    return {
        name: forth[name]
        for name in table.index
        if name in names[0] - names[1] and forth[name] in names[1] - names[0] and back[forth[name]] == name
    }
