"""The search space as a whole: its sections, and the checks between them."""

from __future__ import annotations

from pydantic import model_validator

from sweep.space import checks
from sweep.space.model import SpaceModel


class SearchSpace(SpaceModel):
    """One sweep, as its YAML file describes it.

    Construct it with `parse_space` to have errors carry the line of the file.
    """

    @model_validator(mode="after")
    def _consistent(self) -> SearchSpace:
        checks.consistent(self)
        return self
