"""Racing: trials that cannot be the best one stop seeing questions (Maron & Moore 1994), and what that costs.

The look at n questions takes the set of the best racing trials (`statistics.best_set`) at level alpha / looks and drops
the others. By the union bound the best trial is lost with probability at most alpha, however the looks depend on each
other. Only trials race, and only against each other. Reference rows see every question.

**What stays valid.** Several looks are paid for by shares of the table's 5 %. A racing row reported after a look spends
alpha / looks of it. One that has seen everything spends the remaining 5 % - alpha, a reference row all of it. Intervals
are that much wider, and p-values are divided by the share. So for every row

    P(its reported interval misses) <= sum over looks of alpha / looks + (5 % - alpha) = 5 %,

whatever the rule by which rows stop. The same holds for a false difference. The tie set is taken at 5 % - alpha. So
race and tie set together lose the best trial with probability at most 5 %.

**What remains.** Among equal trials those with lucky first questions survive. A survivor's mean over all questions is
therefore slightly too high, as the best of several means always is. A dropped row's is too low. The guarantee above
holds over all rows, not given that a row survived. Comparisons with a dropped row use the questions that both saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selector.arrays import BoolArray, Float64Array, Int64Array
from sweep.evaluation.bootstrap import Bootstrap
from sweep.evaluation.statistics import best_set
from sweep.settings.evaluation import LEVEL, RacingSettings


@dataclass(frozen=True)
class Race:
    """The plan of a race.

    Attributes:
        looks: numbers of questions after which trials may be dropped, ascending.
        questions: questions of a row that finishes.
        alpha: over all looks. 0 without looks.
    """

    looks: tuple[int, ...]
    questions: int
    alpha: float

    @property
    def stages(self) -> tuple[int, ...]:
        """Numbers of questions seen after each stage. The last one is all."""
        return (*self.looks, self.questions)

    @property
    def look_alpha(self) -> float:
        """Level of each look."""
        return self.alpha / max(1, len(self.looks))

    @property
    def final_level(self) -> float:
        """Level of the tie set, and of racing rows that have seen everything."""
        return LEVEL - self.alpha

    def share(self, races: bool, finished: bool) -> float:
        """Share of the 5 % that a row may spend on its interval and tests."""
        if not races:
            return 1.0
        return (self.final_level if finished else self.look_alpha) / LEVEL


def plan_race(questions: int, settings: RacingSettings | None) -> Race:
    """Looks at start, start x growth, ... as long as the next step is not beyond all questions."""
    looks: list[int] = []
    if settings is not None:
        look = float(settings.start)
        while round(look) * settings.growth <= questions:
            looks.append(round(look))
            look *= settings.growth
    alpha = settings.alpha if settings is not None and looks else 0.0
    return Race(tuple(looks), questions, alpha)


def survivors(values_RQ: Float64Array, clusters_Q: Int64Array, alpha: float, resamples: int, seed: int) -> BoolArray:
    """Which of the racing rows stay, bool [R]. At least one does.

    Args:
        values_RQ: the ranking measure on the questions seen so far, NaN where there is no answer. Only questions that
            every row has answered count: in a race all have seen the same ones.
        clusters_Q: their clusters.
        alpha: probability of dropping a best row at this look.
        resamples: bootstrap replicates. At least 20 / alpha are taken, since the tail decides.
        seed: seeds the bootstrap.
    """
    common_Q = ~np.isnan(values_RQ).any(axis=0)
    if len(values_RQ) < 2 or not common_Q.any():
        return np.ones(len(values_RQ), dtype=bool)
    enough = max(resamples, round(20 / alpha))
    p_R = best_set(Bootstrap(clusters_Q[common_Q], enough, seed), values_RQ[:, common_Q])
    return np.asarray(p_R > alpha, dtype=bool)
