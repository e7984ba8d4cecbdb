"""Further rounds of beams, proposed from what was measured, and one budget over all of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from selector.settings import FrozenModel, ModelSettings, NonNegativeInt, PositiveFloat, PositiveInt, RceSettings
from sweep.settings.proposers import FurtherBeamCounts


class Until(StrEnum):
    """When a query has enough beams."""

    LARGEST = "largest"  # at `largest` beams
    CONTRAST = "contrast"  # when its outcomes have two levels, or at `largest` beams


class OnlineSelector(FrozenModel):
    """A selector that is trained before each further round on all that is measured so far, by RCE, on one thread.

    Attributes:
        model: its size.
        rce: its training.
    """

    model: ModelSettings = ModelSettings(hidden=64)
    rce: RceSettings = RceSettings(epochs=4, lr=5e-4)
    queries: PositiveInt = Field(
        default=2000, description="Training queries that it learns from, at most. Bounds the time, with rce.epochs."
    )

    @model_validator(mode="after")
    def _trained(self) -> OnlineSelector:
        if not self.rce.epochs:
            raise ValueError("rce.epochs is 0: the selector would not be trained")
        return self


class RoundsSettings(FrozenModel):
    """Rounds after the first, for training queries only. Validation and test queries stay as the first one left them.

    Attributes:
        most: further rounds, at most. They end earlier where no query needs more beams, or the budget is spent.
        beams: further beams per query and round.
        until: when a query has enough beams.
        give_up: see its description.
        largest: beams of one query over all rounds, at most.
        credit_temperature: the credit of a demonstration (accuracy of its beams) is divided by it, for `combined`.
        online: a selector trained between the rounds, for the two proposers that use one.
    """

    most: Annotated[int, Field(ge=1, le=1000)] = 3
    beams: FurtherBeamCounts = FurtherBeamCounts()
    until: Until = Until.LARGEST
    give_up: NonNegativeInt | None = Field(
        default=0,
        description="A query without a correct answer gets no more beams from this number on. 0: only queries that "
        "were answered correctly in the first round get more; null: no query is given up.",
    )
    largest: PositiveInt = 40
    credit_temperature: Annotated[float, Field(ge=1e-4)] = 0.1
    online: OnlineSelector | None = None

    @model_validator(mode="after")
    def _online_where_it_is_used(self) -> RoundsSettings:
        if self.online is not None and not self.beams.of_selector:
            raise ValueError("online is given, but rounds.beams.selector_beam and selector_sampled are 0")
        return self


class CollectBudget(FrozenModel):
    """What a collection may cost over all rounds, one of the two.

    Attributes:
        prompts: beams asked, those included whose answers are known already. So it decides the same data everywhere.
        hours: time of asking. What fits depends on the machine. The data's manifest says how many prompts it were.
    """

    prompts: PositiveInt | None = None
    hours: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one(self) -> CollectBudget:
        if (self.prompts is None) == (self.hours is None):
            raise ValueError("give prompts or hours, one of the two")
        return self
