"""Who may propose beams, and how many of each."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from selector.settings import FrozenModel

BeamCount = Annotated[int, Field(ge=0, le=100_000)]


class Proposer(StrEnum):
    """Where a beam comes from, in the order in which they propose."""

    SIMILARITY = "similarity"
    COMBINED = "combined"
    SELECTOR_BEAM = "selector_beam"
    SIMILARITY_SAMPLED = "similarity_sampled"
    SELECTOR_SAMPLED = "selector_sampled"
    RANDOM = "random"


class ProposerCounts(FrozenModel):
    """Distinct beams per query and proposer. The fields are named as the proposers. One without a field proposes none.

    Attributes:
        selector_beam: the most likely beams of the selector, by beam search.
        similarity_sampled: beams sampled by cosine similarity.
        selector_sampled: beams sampled from the selector.
        random: beams sampled uniformly.
    """

    selector_beam: BeamCount = 0
    similarity_sampled: BeamCount = 0
    selector_sampled: BeamCount = 0
    random: BeamCount = 0

    @model_validator(mode="after")
    def _some(self) -> ProposerCounts:
        if self.total == 0:
            raise ValueError("all counts are 0: no beam would be measured")
        return self

    @property
    def total(self) -> int:
        """Beams per query, where the pool has so many."""
        return sum(self.of(proposer) for proposer in Proposer)

    @property
    def of_selector(self) -> int:
        """Beams per query that need a selector."""
        return self.selector_beam + self.selector_sampled

    def of(self, proposer: Proposer) -> int:
        """The count of a proposer."""
        count: int = getattr(self, proposer.value, 0)
        return count


class BeamCounts(ProposerCounts):
    """Beams of every query, proposed before anything is measured.

    Attributes:
        similarity_sampled: beams sampled by cosine similarity.
        random: beams sampled uniformly.
    """

    similarity: Annotated[int, Field(ge=0, le=1)] = Field(
        default=1, description="The nearest candidates by cosine, the nearest one last. There is only one such beam."
    )
    similarity_sampled: BeamCount = 9
    random: BeamCount = 10


class FurtherBeamCounts(ProposerCounts):
    """Beams of a query in one further round, proposed from what was measured before.

    Attributes:
        combined: the best single demonstrations so far, combined.
        random: beams sampled uniformly.
    """

    combined: BeamCount = 4
    random: BeamCount = 1
