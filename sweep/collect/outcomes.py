"""From an answer to what is stored about a beam."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from selector.arrays import BoolArray, Float32Array, Int64Array

# Accuracy against ten annotators is 0, .3, .6, .9 or 1. Collections made by earlier tools call a beam correct at .6
# and above. Half way between .3 and .6 no rounding matters.
CORRECT_FROM = 0.45

ScoreText = Callable[[str, tuple[str, ...]], float]


def is_correct(accuracy: npt.NDArray[np.floating]) -> BoolArray:
    """`vqa_correct` from `vqa_acc_score`: at least two of ten annotators gave this answer."""
    return np.asarray(accuracy >= CORRECT_FROM)


def relevance(item: int, shown_NS: Int64Array, unit_MD: Float32Array) -> Float32Array:
    """`vqa_rel_score`: mean cosine similarity of the query to its demonstrations, in [0, 1].

    Negative means become 0. The reward modes that read it pay for relevance, and where there is none they pay nothing.

    Args:
        item: the query.
        shown_NS: item ids of the demonstrations of N beams.
        unit_MD: embeddings of unit length.

    Returns:
        float32 [N].
    """
    cosine_NS = unit_MD[shown_NS].astype(np.float64) @ unit_MD[item].astype(np.float64)
    return np.asarray(cosine_NS.mean(axis=1).clip(0, 1), dtype=np.float32)
