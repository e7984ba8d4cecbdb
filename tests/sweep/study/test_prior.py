"""Trials of an earlier run: the sampler learns from them, and nothing else sees them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from sweep.errors import SpaceError
from sweep.space import SearchSpace, parse_space
from sweep.study import AskedTrial, NoTrial, StudyOwner

LR = {"type": "float", "low": 1e-6, "high": 1e-2, "log": True}
CLIP = {"type": "float", "low": 0.1, "high": 0.3, "when": {"grpo.ppo_clip_only": True}}
PRIOR = [
    {"params": {"grpo.lr": 10 ** (-6 + n / 5), "grpo.ppo_clip_only": False}, "val_loss": (n / 5 - 3) ** 2}
    for n in range(20)
]
"""The best learning rate is 1e-3."""


def space(sampler: str, **values: Any) -> SearchSpace:
    return SearchSpace.model_validate(
        {
            "name": "prior",
            "parameters": {
                "grpo.lr": LR,
                "grpo.clip_epsilon": CLIP,
                "grpo.ppo_clip_only": {"type": "categorical", "choices": [False, True]},
            },
            "sampler": sampler,
            "budget": {"trials": 4},
        }
        | values
    )


def loss(rate: float) -> float:
    """Lowest at 1e-3."""
    return (math.log10(rate) + 3) ** 2


def rates(folder: Path, of: SearchSpace) -> list[float]:
    """The learning rates that four trials are given, one after the other."""
    owner = StudyOwner.open(f"sqlite:///{folder}/{of.sampler.type}-{bool(of.prior)}.db", "s", of)
    found = []
    for number in range(4):
        asked = owner.ask()
        assert isinstance(asked, AskedTrial) and asked.number == number  # the prior ones have no numbers
        found.append(float(str(asked.params["grpo.lr"])))
        owner.report(number, 1, loss(found[-1]))
        owner.complete(number, loss(found[-1]))
    assert len(owner.summaries()) == 4 and isinstance(owner.ask(), NoTrial)
    owner.close()
    return found


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_the_sampler_learns_from_the_first_trial_on(sampler: str, tmp_path: Path) -> None:
    near, blind = (
        sum(loss(rate) < 0.5 for rate in rates(tmp_path, space(sampler, **values))) for values in ({"prior": PRIOR}, {})
    )
    assert near >= 3 > blind


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("sampler: random\nprior: [{params: {grpo.lr: 1e-3}, val_loss: 1.0}]", "use tpe or gp"),
        ("prior: [{params: {grpo.lr: 1.0}, val_loss: 1.0}]", "prior[0].params.grpo.lr: 1.0 is outside"),
        ("prior: [{params: {}, val_loss: 1.0}]", "grpo.lr is in use at this point and has no value"),
        ("prior: [{params: {grpo.lr: 1e-3}}]", "prior[0].val_loss"),
    ],
)
def test_a_prior_that_no_sampler_could_use_is_refused(values: str, said: str) -> None:
    text = f"name: x\nparameters: {{grpo.lr: {{type: float, low: 1e-6, high: 1e-2}}}}\n{values}\n"
    with pytest.raises(SpaceError) as caught:
        parse_space(text, "x.yaml")
    assert said in str(caught.value)
