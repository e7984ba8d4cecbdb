"""Each verdict at, below and above its threshold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from selector.health import Verdict, assess, divergence, reason_to_prune
from selector.reports import EpochReport, Stage
from selector.settings import HealthSettings

SETTINGS = HealthSettings(
    no_op_agreement=0.9, kl_share=0.8, advantage_std=0.05, zero_variance_share=0.7,
    max_kl=50, max_loss=100, max_grad_norm=1e3,
)  # fmt: skip
HEALTHY = EpochReport(
    stage=Stage.GRPO, epoch=2, step=7, train_loss=0.1, policy_loss=0.05, kl=0.5, kl_share=0.5, ratio_mean=1.0,
    ratio_min=0.8, ratio_max=1.2, clip_fraction=0.1, advantage_mean=0.0, advantage_std=0.7, advantage_max=2.0,
    zero_variance_share=0.3, beta=0.1, tau=None, lr=1e-4, grad_norm=1.0, entropy=2.0, agreement_top1=0.6,
    agreement_sequence=0.4, parameter_change={"query_proj": 0.01}, val_loss=1.5, val_reward=0.3, train_queries=10,
    queries_per_second=100.0, seconds=0.1,
)  # fmt: skip
RCE = replace(
    HEALTHY, stage=Stage.RCE, policy_loss=None, kl=None, kl_share=None, ratio_mean=None, ratio_min=None, ratio_max=None,
    clip_fraction=None, advantage_mean=None, advantage_std=None, advantage_max=None, beta=None, tau=1.0,
)  # fmt: skip
UP, DOWN = (lambda x: math.nextafter(x, math.inf)), (lambda x: math.nextafter(x, -math.inf))


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        ({}, []),
        ({"agreement_sequence": DOWN(0.9)}, []),
        ({"agreement_sequence": 0.9}, ["no_op"]),
        ({"agreement_sequence": 1.0}, ["no_op"]),
        ({"agreement_top1": 1.0}, []),
        ({"kl_share": 0.8}, []),
        ({"kl_share": UP(0.8)}, ["kl_dominated"]),
        ({"advantage_std": 0.05}, []),
        ({"advantage_std": DOWN(0.05)}, ["dead_signal"]),
        ({"zero_variance_share": 0.7}, []),
        ({"zero_variance_share": UP(0.7)}, ["dead_signal"]),
        ({"kl": 50.0}, []),
        ({"kl": UP(50.0)}, ["diverged"]),
        ({"train_loss": -100.0}, []),
        ({"train_loss": -100.1}, ["diverged"]),
        ({"train_loss": 100.1}, ["diverged"]),
        ({"val_loss": 100.1}, ["diverged"]),
        ({"grad_norm": 1000.0}, []),
        ({"grad_norm": 1000.1}, ["diverged"]),
        ({"ratio_max": 1e30}, []),
        ({"ratio_max": math.inf}, ["diverged"]),
        *[({name: math.nan}, ["diverged"]) for name in ("train_loss", "val_loss", "kl", "grad_norm", "ratio_max")],
        ({"agreement_sequence": 1.0, "kl_share": 0.9, "advantage_std": 0.0, "kl": 99.0},
         ["diverged", "no_op", "kl_dominated", "dead_signal"]),
    ],
)  # fmt: skip
def test_grpo_verdicts(change: dict[str, Any], verdicts: list[str]) -> None:
    assert [verdict.value for verdict in assess(replace(HEALTHY, **change), SETTINGS)] == verdicts


def test_rce_can_only_diverge() -> None:
    quiet = replace(RCE, agreement_sequence=1.0, zero_variance_share=1.0)
    assert assess(quiet, SETTINGS) == ()
    assert assess(replace(quiet, train_loss=math.nan), SETTINGS) == (Verdict.DIVERGED,)


def test_defaults() -> None:
    default = HealthSettings()
    assert assess(HEALTHY, default) == ()
    assert assess(replace(HEALTHY, agreement_sequence=0.999), default) == ()
    assert assess(replace(HEALTHY, agreement_sequence=1.0), default) == (Verdict.NO_OP,)
    assert assess(replace(HEALTHY, kl_share=0.92), default) == (Verdict.KL_DOMINATED,)
    assert assess(replace(HEALTHY, advantage_std=0.006), default) == (Verdict.DEAD_SIGNAL,)  # and its 0.006
    assert assess(replace(HEALTHY, kl=17.0), default) == ()


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({}, None),
        ({"kl": math.inf}, "kl is inf at step 7"),
        ({"grad_norm": math.nan}, "grad_norm is nan at step 7"),
        ({"val_loss": 250.0}, "val_loss 250 exceeds 100 at step 7"),
        ({"ratio_max": None, "kl": None}, None),
    ],
)
def test_why_it_diverged(change: dict[str, Any], phrase: str | None) -> None:
    assert divergence(replace(HEALTHY, **change), SETTINGS) == phrase


NONE, NO_OP, KL = (), (Verdict.NO_OP,), (Verdict.KL_DOMINATED,)
BOTH = (Verdict.KL_DOMINATED, Verdict.NO_OP)


@pytest.mark.parametrize(
    ("prune_on", "patience", "history", "reason"),
    [
        ((), 1, [NO_OP] * 5, None),
        (("no_op",), 1, [], None),
        (("no_op",), 1, [NO_OP], "no_op for 1 epochs"),
        (("no_op",), 2, [NO_OP], None),
        (("no_op",), 2, [NO_OP, NO_OP], "no_op for 2 epochs"),
        (("no_op",), 2, [NO_OP, NONE, NO_OP], None),
        (("no_op",), 2, [NO_OP, NO_OP, NONE], None),
        (("no_op",), 3, [NONE, NO_OP, BOTH, NO_OP], "no_op for 3 epochs"),
        (("no_op",), 2, [KL, KL], None),
        (("no_op", "kl_dominated"), 2, [KL, NO_OP], None),  # no single verdict held throughout
        (("no_op", "kl_dominated"), 2, [BOTH, KL], "kl_dominated for 2 epochs"),
        (("dead_signal",), 1, [(Verdict.DIVERGED,)], None),
    ],
)
def test_reason_to_prune(prune_on: tuple[str, ...], patience: int, history: list[Any], reason: str | None) -> None:
    assert reason_to_prune(history, HealthSettings(prune_on=prune_on, patience=patience)) == reason


def test_unknown_verdicts_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown verdict 'diverged'"):
        HealthSettings(prune_on=("diverged",))
