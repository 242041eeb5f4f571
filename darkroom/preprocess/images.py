"""The images of a dataset: decoded once into a temporary file, scanned, compared and packed."""

from pathlib import Path

import numpy as np
import pandas as pd

from darkroom.core.arrays import Manifest
from darkroom.inputs.denoising import denoise_with_centre
from darkroom.preprocess import cleaning, duplicates, packing, raw_data, report, sample_sheet, selection, splits
from darkroom.preprocess.config import PreprocessConfig
from darkroom.preprocess.packing import Pack
from darkroom.preprocess.samples import Samples

select, counts = selection.select, report.counts
write_samples, facts = sample_sheet.write, sample_sheet.facts  # of the report


class Images:
    """See `selection.Examples`; use it in a `with` statement, in which a temporary file holds the pixels."""

    def __init__(self, folder: str | Path, settings: PreprocessConfig):
        self._settings = settings
        self.raw = raw_data.read(folder, settings)
        self.description, self.samples, self.aspects = self.raw.description, self.raw.samples, self.raw.aspects
        self.unusable: dict[int, str] = {}
        warning = f"Warning: {self.raw.intensities.warning}" if self.raw.intensities.warning else ""
        split = splits.notice(self.samples, settings.test_fraction)
        self.notices = [line for line in (self.raw.size_notice, split, warning) if line]

    def __enter__(self) -> "Images":
        self._pack = Pack("data", self.raw.shape)
        method, size = self._settings.denoise, self.raw.size
        blocks = (denoise_with_centre(block, method, size) for block in self.raw.blocks(self.unusable))
        self.scan = cleaning.scan_pixels(self._pack.keep(blocks))
        return self

    def __exit__(self, *_: object) -> None:
        self._pack.__exit__()

    def near_duplicates(self, chosen: np.ndarray, max_difference: float) -> pd.DataFrame:
        """See `duplicates.find_pairs`."""
        return duplicates.find_pairs(self._pack, chosen, max_difference, self.description.augmentation.flip)

    def write(self, folder: str | Path, samples: Samples, classes: tuple[str, ...]) -> Manifest:
        """Write the packed arrays; see `packing.write`."""
        shape = *self.raw.size, self.raw.shape[2]
        given = self.description, classes, shape, self._settings, self.raw.intensities.range
        return packing.write(folder, self._pack, samples, *given)
