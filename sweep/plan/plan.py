"""TODO-DOC"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selector.data import Dataset, DataSummary
from sweep.collect.beams import CollectPlan
from sweep.plan.items import Source
from sweep.space import SearchSpace


@dataclass(frozen=True)
class Plan:
    """A space and its data, known to fit. `text` is the space as the user wrote it; `images_missing` counts items."""

    space: SearchSpace
    text: str
    source: str
    dataset: Dataset
    summary: DataSummary
    parameters: int
    images_missing: int = 0


@dataclass(frozen=True)
class Draft:
    """A space whose data is still to be collected, checked as far as that goes.

    Attributes:
        items: questions with images.
        beams: what will be asked.
        folder: where the data will be, named by everything that it depends on.
    """

    space: SearchSpace
    text: str
    source: str
    items: Source
    beams: CollectPlan
    folder: Path

    @property
    def bytes(self) -> int:
        """Of the data, roughly."""
        return self.beams.embeddings.nbytes + self.beams.beam_picks.nbytes + self.beams.queries.pool_items.nbytes
