"""Health verdicts: what a researcher would say on seeing an epoch's numbers. Thresholds are settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

from selector.reports import EpochReport, Stage
from selector.settings import HealthSettings


class Verdict(StrEnum):
    """`diverged` stops a trial at once. The others are labels unless `health.prune_on` names them."""

    NO_OP = "no_op"
    KL_DOMINATED = "kl_dominated"
    DEAD_SIGNAL = "dead_signal"
    DIVERGED = "diverged"


def assess(report: EpochReport, settings: HealthSettings) -> tuple[Verdict, ...]:
    """Verdicts of one epoch. RCE epochs can only diverge. The others are about GRPO against its reference."""
    verdicts = []
    if divergence(report, settings):
        verdicts.append(Verdict.DIVERGED)
    if report.stage is Stage.RCE:
        return tuple(verdicts)
    if report.agreement_sequence >= settings.no_op_agreement:
        verdicts.append(Verdict.NO_OP)
    if report.kl_share is not None and report.kl_share > settings.kl_share:
        verdicts.append(Verdict.KL_DOMINATED)
    dead = report.advantage_std is not None and report.advantage_std < settings.advantage_std
    if dead or report.zero_variance_share > settings.zero_variance_share:
        verdicts.append(Verdict.DEAD_SIGNAL)
    return tuple(verdicts)


def divergence(report: EpochReport, settings: HealthSettings) -> str | None:
    """Why the epoch counts as diverged, in one phrase, or None."""
    watched = {
        "train_loss": (report.train_loss, settings.max_loss),
        "kl": (report.kl, settings.max_kl),
        "grad_norm": (report.grad_norm, settings.max_grad_norm),
        "val_loss": (report.val_loss, settings.max_loss),
        "ratio_max": (report.ratio_max, math.inf),
    }
    for name, (value, limit) in watched.items():
        if value is None:
            continue
        if not math.isfinite(value):
            return f"{name} is {value} at step {report.step}"
        if abs(value) > limit:
            return f"{name} {value:.4g} exceeds {limit:g} at step {report.step}"
    return None


def reason_to_prune(history: Sequence[tuple[Verdict, ...]], settings: HealthSettings) -> str | None:
    """The verdict of `health.prune_on` that held for the last `patience` epochs in a row, or None."""
    recent = history[-settings.patience :]
    if len(recent) < settings.patience:
        return None
    for name in settings.prune_on:
        if all(Verdict(name) in verdicts for verdicts in recent):
            return f"{name} for {settings.patience} epochs"
    return None
