"""Reward modes: how the measured outcomes of a beam become one number.

With hard = vqa_correct, soft = vqa_acc_score, gt = vqa_gt_prob, rel = vqa_rel_score and weights h, s, r.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from selector.arrays import Float32Array, Float64Array
from selector.data.checks import RANGES
from selector.data.dataset import Outcome
from selector.errors import DataError
from selector.settings import Correctness, RewardMode, RewardSettings

REWARD_LIMIT = 5.0

_FIELDS: dict[RewardMode, tuple[Outcome, ...]] = {
    RewardMode.HARD_PLUS_SOFT: (Outcome.CORRECT, Outcome.ACC_SCORE),
    RewardMode.HARD_PLUS_SOFT_V2: (Outcome.CORRECT, Outcome.ACC_SCORE),
    RewardMode.SEPARATED: (Outcome.CORRECT, Outcome.ACC_SCORE),
    RewardMode.HARD_ONLY: (Outcome.CORRECT,),
    RewardMode.SOFT_ONLY: (Outcome.ACC_SCORE,),
    RewardMode.HARD01_PLUS_GTPROB: (Outcome.CORRECT, Outcome.GT_PROB),
    RewardMode.HARD01_PLUS_GTPROB_SEPARATED: (Outcome.CORRECT, Outcome.GT_PROB),
    RewardMode.HARD_PLUS_GTPROB_PLUS_REL: (Outcome.CORRECT, Outcome.GT_PROB, Outcome.REL_SCORE),
}


def missing_fields(reward: RewardSettings, present: set[Outcome]) -> list[str]:
    """Names of the measured columns that this reward needs and the data does not have."""
    if reward.mode is not RewardMode.LEGACY:
        return [field.value for field in _FIELDS[reward.mode] if field not in present]
    missing = []
    if reward.beta != 0 and Outcome.CORRECT not in present:
        missing.append(Outcome.CORRECT.value)
    if reward.alpha != 0 and not present & {Outcome.BEAM_SCORE, Outcome.LOGPROB_SCORE}:
        missing.append(f"{Outcome.BEAM_SCORE.value} or {Outcome.LOGPROB_SCORE.value}")
    return missing


def compute_rewards(outcomes: Mapping[Outcome, Float32Array], reward: RewardSettings) -> Float32Array:
    """Rewards of all beams, float32 [sum N], clipped to [-5, 5].

    Raises:
        DataError: a column that the mode needs is missing. The message names both.
    """
    missing = missing_fields(reward, set(outcomes))
    if missing:
        present = ", ".join(sorted(outcomes)) or "none"
        raise DataError(
            f"reward mode {reward.mode.value} needs {', '.join(missing)}, which the data does not have "
            f"(it has: {present})"
        )
    values = _legacy(outcomes, reward) if reward.mode is RewardMode.LEGACY else _measured(outcomes, reward)
    return np.clip(values, -REWARD_LIMIT, REWARD_LIMIT).astype(np.float32)


def reward_range(reward: RewardSettings) -> tuple[float, float]:
    """The smallest and the largest reward that a beam can have, within [-5, 5].

    Rewards are linear in every measured column, so both lie at corners of the columns' ranges. The scores that `legacy`
    weighs with alpha have no range: with them it is that of clipping.
    """
    if reward.mode is RewardMode.LEGACY and reward.alpha != 0:
        return -REWARD_LIMIT, REWARD_LIMIT
    ends = {Outcome.CORRECT: (0.0, 1.0), **RANGES}
    corners = np.array(list(itertools.product(*ends.values())), dtype=np.float32)
    rewards = compute_rewards(dict(zip(ends, corners.T, strict=True)), reward)
    return float(rewards.min()), float(rewards.max())


def _measured(outcomes: Mapping[Outcome, Float32Array], reward: RewardSettings) -> Float64Array:
    # In double, so that a large weight is clipped rather than overflowing, and only the result is rounded.
    h, s, r = reward.hard_weight, reward.soft_weight, reward.rel_weight
    columns = [outcomes[field].astype(np.float64) for field in _FIELDS[reward.mode]]
    match reward.mode:
        case RewardMode.HARD_PLUS_SOFT | RewardMode.HARD01_PLUS_GTPROB:
            return h * columns[0] + s * columns[1]
        case RewardMode.HARD_PLUS_SOFT_V2:
            return 2 * h * columns[0] + s * columns[1]
        case RewardMode.SEPARATED | RewardMode.HARD01_PLUS_GTPROB_SEPARATED:
            return np.where(columns[0] > 0.5, 2 * h + s * columns[1], s * columns[1])
        case RewardMode.HARD_ONLY:
            return h * columns[0]
        case RewardMode.SOFT_ONLY:
            return s * columns[0]
        case _:
            hard, gt, rel = columns
            return h * hard + s * gt + r * (1 - hard) * rel


def _legacy(outcomes: Mapping[Outcome, Float32Array], reward: RewardSettings) -> Float64Array:
    """Sum alpha * quality + beta * correctness.

    Quality is the beam score. Only data without it takes the negated log-probability score.
    """
    beams = len(next(iter(outcomes.values()))) if outcomes else 0
    values = np.zeros(beams)
    if reward.alpha != 0:
        score = outcomes.get(Outcome.BEAM_SCORE)
        quality = score if score is not None else -outcomes[Outcome.LOGPROB_SCORE]
        values += reward.alpha * quality.astype(np.float64)
    if reward.beta != 0:
        hard = outcomes[Outcome.CORRECT].astype(np.float64)
        values += reward.beta * (2 * hard - 1 if reward.correctness is Correctness.PLUS_MINUS_ONE else hard)
    return values
