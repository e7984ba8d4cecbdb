"""How many questions tell a difference between two selectors, before any question is asked."""

from __future__ import annotations

import numpy as np

from selector.data import Dataset
from selector.data.dataset import Outcome
from sweep.evaluation.power import questions_to_tell, told_difference
from sweep.plan.cost.records import SampleSize
from sweep.settings.evaluation import LEVEL, EvaluationSettings

DIFFERENCES = (1, 2, 5)
ASSUMED_VARIANCE = 0.2
"""Of the difference between two answers to one question: one in five is right on one side alone."""


def sample_size(settings: EvaluationSettings | None, dataset: Dataset | None, asked: int | None) -> SampleSize:
    """Questions that tell differences of some points between two rows, before any of them is asked.

    Two selectors that select differently are taken to differ as two measured beams of a query do, drawn at random. Rows
    that often select the same differ less, and the mean over several numbers of shots varies less, so that fewer
    questions may do. Without measured beams one question in five is taken to be right on one side alone.
    """
    accuracy = None if dataset is None else dataset.outcomes.get(Outcome.ACC_SCORE)
    variance, measured = ASSUMED_VARIANCE, False
    if accuracy is not None and dataset is not None:
        starts, sizes = dataset.beam_starts[:-1], np.diff(dataset.beam_starts)
        mean = np.add.reduceat(accuracy.astype(np.float64), starts) / sizes
        square = np.add.reduceat(accuracy.astype(np.float64) ** 2, starts) / sizes
        several = sizes > 1
        # Two different beams of a group: twice its variance, without the pairs of a beam with itself.
        own = 2 * (square - mean**2)[several] * (sizes / np.maximum(sizes - 1, 1))[several]
        if len(own) and own.mean() > 0:
            variance, measured = float(own.mean()), True
    level = LEVEL / (1 if settings is None else settings.top)
    questions = {points: questions_to_tell(variance**0.5, 1, points / 100, level) or 0 for points in DIFFERENCES}
    told = None if not asked else 100 * told_difference((variance / asked) ** 0.5, level)
    return SampleSize(variance, measured, questions, asked, told)
