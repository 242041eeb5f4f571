"""A search as its file, params.yaml and the storage describe it."""

from pathlib import Path
from typing import Any

import optuna
import yaml

from darkroom import recipe, schema
from darkroom.core import arrays, params
from darkroom.core.errors import DarkroomError
from darkroom.search import description, space, storage
from darkroom.search.measure import ACCURACY, of_kind


class Opened:
    """A search file and the space that it spans over params.yaml.

    `trials` and `hours` override the file's budget, and are `budget`. Raises DarkroomError if the file or params.yaml
    is at fault.
    """

    def __init__(self, file: Path, url: str | None, trials: int | None, hours: float | None):
        self.file, self.name, self.url = file, file.stem, url
        self.folder = storage.FOLDER / self.name
        self.search, parameters = description.read(file)
        self.budget = {key: value for key, value in (("trials", trials), ("hours", hours)) if value is not None}
        self.search = self.search.model_copy(update=self.budget)
        try:
            self.text = self._base()
            values = yaml.load(self.text, params.Loader)  # a SafeLoader
            self.space = space.build(parameters, values)
            self.space.check()
            if self.search.sampler == "grid":
                self.space.points()
        except DarkroomError as error:
            raise DarkroomError(f"{file}: {error}") from None
        if values["seed"] in self.search.seeds:
            raise DarkroomError(
                f"{file}: seeds holds {values['seed']}, the seed of all trials: the finalists need others."
            )

    def _base(self) -> str:
        """The text of params.yaml, with the recipe that the search names."""
        if self.search.recipe == "none":
            schema.load()
            return params.PATH.read_bytes().decode("utf-8")
        known = recipe.available()
        if self.search.recipe not in known:
            raise DarkroomError(f"recipe = {self.search.recipe!r}: must be none or one of {', '.join(known)}.")
        text = recipe.applied(recipe.RECIPES / f"{self.search.recipe}.yaml")
        now, then = (
            params.flat(values["preprocess"]) for values in (params.read(params.PATH), yaml.load(text, params.Loader))
        )
        if changed := [key for key in then if then[key] != now[key]]:
            raise DarkroomError(
                f"recipe = {self.search.recipe} packs the data otherwise (preprocess.{changed[0]}): run `python -m "
                f"darkroom.recipe {self.search.recipe}` and `dvc repro preprocess` first."
            )
        return text

    def identity(self, manifest: arrays.Manifest) -> dict[str, Any]:
        """What all trials of the search share."""
        measured = {"cost": self.search.cost, "latency": self.search.measures_latency}
        if (measure := of_kind(manifest.kind)) is not ACCURACY:
            measured["measure"] = measure.name
        return {**self.space.identity(), **measured, "data": manifest.sha256}

    def studies(self, manifest: arrays.Manifest, write: bool) -> tuple[optuna.Study, optuna.Study]:
        """The studies of the trials and of the finalists."""
        stored = storage.open_storage(self.name, self.url, write)
        objectives = 1 if self.search.cost == "none" else 2
        study = storage.open_study(stored, self.name, objectives, write)
        if len(study.directions) == objectives:
            storage.require_same_space(study, self.identity(manifest), str(self.file))
        else:
            raise DarkroomError(f"{self.file} changed since the stored trials (cost): restore it, or use --fresh.")
        return study, storage.open_study(stored, self.name + storage.FINALISTS, 1, write)
