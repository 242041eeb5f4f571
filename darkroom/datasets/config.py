"""The `data` section of params.yaml."""

import re
from typing import Annotated

from pydantic import AfterValidator

from darkroom.core.params import Section


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[^/\\\x00-\x1f]+", name) or name.startswith("."):
        raise ValueError("must be the name of one folder in data/datasets, without path separators")
    return name


class DataConfig(Section):
    """Which dataset."""

    dataset: Annotated[str, AfterValidator(_folder_name)]


SECTIONS = {"data": DataConfig}
