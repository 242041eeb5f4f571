"""Which items may be recommended."""

from typing import Literal

from pydantic import ConfigDict

from darkroom.core.params import Section


class RankingConfig(Section):
    """The part of the `evaluate` section that everything needs that ranks items."""

    model_config = ConfigDict(extra="ignore")

    seen_items: Literal["leave_out", "keep"]
