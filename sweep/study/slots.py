"""Which trial comes next, as a function of the space and of the trials that the study has. No other state, no queue.

Configuration c is the c-th point of `enqueue`, then the next point of the grid, or a sampled one. Its repeats follow it
directly. A trial's place is stored in the same transaction that creates it, so a kill can neither lose nor double one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from selector.seeds import derive_seed32
from sweep.space.addresses import Scalar
from sweep.space.algorithms import GridSettings
from sweep.space.conditions import combinations
from sweep.space.search_space import SearchSpace
from sweep.study.summaries import Slot, configuration_key, details, slot_of


@dataclass(frozen=True)
class NextTrial:
    """The next trial: its place, and the parameters that are given; the rest is sampled."""

    slot: Slot
    given: dict[str, Scalar]


class Planner:
    """Fills the slots of one space, in order."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        # A space that samples nothing has exactly one configuration.
        enumerated = isinstance(space.sampler, GridSettings) or not space.distributions
        self.grid: list[dict[str, Scalar]] | None = grid_points(space) if enumerated else None

    def next_trial(self, trials: Sequence[FrozenTrial]) -> NextTrial | None:
        """What comes after those that there are; None when the grid is exhausted.

        Args:
            trials: all trials of the study, each fully sampled.
        """
        for last in reversed(trials):  # slots are filled in the order of the trials' numbers
            slot = slot_of(last)
            if slot.configuration is None:
                continue
            if slot.repeat + 1 < self.space.repeats:
                return NextTrial(Slot(slot.configuration, slot.repeat + 1), dict(last.params))
            return self._new(slot.configuration + 1, trials)
        return self._new(0, trials)

    def drawn_before(self, configuration: int | None) -> int:
        """How many configurations before this one were not given by `enqueue`."""
        return max(0, (configuration or 0) - len(self.space.points))

    def _new(self, configuration: int, trials: Sequence[FrozenTrial]) -> NextTrial | None:
        slot = Slot(configuration, 0)
        if configuration < len(self.space.points):
            return NextTrial(slot, dict(self.space.points[configuration]))
        if self.grid is None:
            return NextTrial(slot, {})
        done = {details(trial).key for trial in trials}
        point = next((point for point in self.grid if configuration_key(point) not in done), None)
        return None if point is None else NextTrial(slot, point)


def grid_points(space: SearchSpace) -> list[dict[str, Scalar]]:
    """Every combination of the sampled parameters' values once, shuffled by the space's seed.

    A conditional parameter is left out where it does not apply, so that no combination is trained twice.
    """
    candidates = {path: list(space.parameters[path].values()) for path in space.order}
    found = [
        {path: value for path, value in values.items() if path in space.distributions}
        for values in combinations(space.parameters, space.order, candidates, space.base)
    ]
    random.Random(derive_seed32(space.seed, "grid")).shuffle(found)
    return found
