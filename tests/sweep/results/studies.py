"""Studies whose answer is known: trials as Optuna stores them, without a study."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import create_trial

from sweep.space import SearchSpace
from sweep.space.addresses import Scalar
from sweep.study import FrozenTrial, TrialState
from sweep.study.summaries import DETAILS, STANDING

SPACE = {
    "name": "known",
    "parameters": {
        "grpo.ppo_clip_only": {"type": "categorical", "choices": [False, True]},
        "grpo.kl_beta": {
            "type": "float",
            "low": 0.01,
            "high": 1.0,
            "log": True,
            "when": {"grpo.ppo_clip_only": False},
        },
        "grpo.lr": {"type": "float", "low": 1e-6, "high": 1e-2, "log": True},
        "grpo.clip_epsilon": {"type": "float", "low": 0.05, "high": 0.3},
        "grpo.batch_size": {"type": "int", "low": 8, "high": 64, "log": True},
        "reward.mode": {"type": "categorical", "choices": ["hard_only", "soft_only", "separated", "hard_plus_soft"]},
    },
}
"""A conditional parameter, logarithms, an int, and choices."""


def space_of(parameters: Mapping[str, Any] | None = None, **sections: Any) -> SearchSpace:
    """The space, perhaps with other parameters or sections."""
    return SearchSpace.model_validate({**SPACE, **({"parameters": parameters} if parameters else {}), **sections})


def trial_of(
    number: int,
    params: Mapping[str, Scalar],
    curve: Sequence[float],
    state: TrialState = TrialState.COMPLETE,
    verdicts: Sequence[str] = (),
    reason: str = "",
) -> FrozenTrial:
    """A trial of GRPO alone that had these validation losses."""
    finite = [value for value in curve if math.isfinite(value)]
    best = min(finite, default=None)
    standing = {
        "verdicts": list(verdicts),
        "best_step": None if best is None else list(curve).index(best) + 1,
        "best_loss": best,
        "agreement": None,
        "rce_digest": None,
        "shots": None,
    }
    value = best if state is TrialState.COMPLETE else curve[-1] if state is TrialState.PRUNED and curve else None
    found = create_trial(
        state=state,
        value=value if value is not None and math.isfinite(value) else None,
        intermediate_values=dict(enumerate(curve, start=1)),
        user_attrs={DETAILS: {"key": str(number), "rce_epochs": 0, "seed": 0, "attempt": 1}, STANDING: standing}
        | ({"reason": reason} if reason else {}),
    )
    found.number = number
    found._params = dict(params)  # their distributions are the space's
    return found


def draw(space: SearchSpace, count: int, seed: int) -> list[dict[str, Scalar]]:
    """Points of the space at random, conditions kept."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        values: dict[str, Scalar] = {}
        for path in space.order:
            if not space.in_use(path, values):
                continue
            parameter: Any = space.parameters[path]
            if parameter.type == "categorical":
                values[path] = parameter.choices[generator.integers(len(parameter.choices))]
            else:
                low, high = (math.log(end) if parameter.log else end for end in (parameter.low, parameter.high))
                drawn = generator.uniform(low, high)
                drawn = math.exp(drawn) if parameter.log else drawn
                values[path] = round(drawn) if parameter.type == "int" else drawn
        found.append(values)
    return found


def study_of(
    loss: Callable[[Mapping[str, Any]], float], count: int, seed: int = 0, space: SearchSpace | None = None
) -> list[FrozenTrial]:
    """Complete trials with this loss."""
    points = draw(space or space_of(), count, seed)
    return [trial_of(number, point, [loss(point)]) for number, point in enumerate(points)]
