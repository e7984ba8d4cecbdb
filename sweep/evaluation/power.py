"""How many questions it takes to tell a difference of a given size."""

from __future__ import annotations

import math
from statistics import NormalDist

POWER = 0.8


def questions_to_tell(error: float, questions: int, difference: float, level: float) -> int | None:
    """Questions with which a paired two-sided test at `level` shows a true difference with probability 80 %.

    The usual sample size of a comparison: n' = n ((z_{1 - level/2} + z_{0.8}) error / difference)^2. The variance of
    one question, n error^2, is the one measured on the n questions of this run, clusters counted (Miller 2024, "Adding
    Error Bars to Evals"). So it is right for further questions of the same kind, that share images as these do.

    Args:
        error: standard error of the paired mean difference on these questions (`Bootstrap.errors`), >= 0.
        questions: n >= 1.
        difference: to be told, > 0, in the unit of the error.
        level: of the test, in (0, 1), already divided by the number of comparisons.

    Returns:
        None if the error is 0: then no question told the two apart, and nothing is known about how often one does.
    """
    if error <= 0:
        return None
    return math.ceil(questions * (_reach(level) * error / difference) ** 2)


def told_difference(error: float, level: float) -> float:
    """The smallest true difference that such a test shows with probability 80 %, in the unit of its standard error."""
    return _reach(level) * error


def _reach(level: float) -> float:
    """Standard errors between 0 and a difference that is told."""
    return NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(POWER)
