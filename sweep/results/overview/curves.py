"""Learning curves over both stages: the best trials, a sample of the others, and where all of them lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.reports import EpochReport
from sweep.evaluation.wording import counted
from sweep.results.overview.limits import limited
from sweep.results.overview.model import Axis, Block, Chart, Mark, Role, Section, Series, Text
from sweep.results.overview.sources import Sources

BEST = 5
OTHERS = 40
"""Curves that are drawn: of the best trials, and of all others. The band is over every trial."""
ROLES = (Role.FIRST, Role.SECOND, Role.THIRD, Role.FOURTH, Role.FIFTH)
BAND = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Metric:
    """A number of `EpochReport`, and what to look for in it."""

    field: str
    title: str
    meaning: str


METRICS = (
    Metric("val_loss", "val_loss", "Validation loss, by which trials are pruned and ranked. It should fall."),
    Metric("kl", "KL to the warm-up", "How far GRPO has moved the policy. At 0 it has changed nothing."),
    Metric("kl_share", "KL share of the loss", "Near 1, the loss is almost only the penalty for moving."),
    Metric("advantage_std", "advantage std", "The signal of GRPO. Near 0 there is nothing to learn from."),
    Metric("clip_fraction", "clip fraction", "Share of beams whose update was clipped. High: the steps are large."),
    Metric("entropy", "entropy", "How undecided the policy is, in nats. At 0 it always picks the same."),
)


def curves_section(sources: Sources) -> Section:
    """One chart per metric. Metrics that no epoch has are left out."""
    if not sources.epochs:
        return Section("curves", "Learning curves", (Text(("No epoch has ended yet.",)),))
    numbers = [row.number for row in sources.rows if row.number in sources.epochs]
    best, rest = numbers[:BEST], numbers[BEST:]
    sample = rest if len(rest) <= OTHERS else [rest[int(place * len(rest) / OTHERS)] for place in range(OTHERS)]
    ends = {sum(one.stage == "rce" for one in reports) for reports in sources.epochs.values()}
    edges = tuple(end + 0.5 for end in ends if len(ends) == 1 and end)
    lead = ["Each epoch of both stages, RCE first, then GRPO. What only GRPO has begins there."]
    if edges:
        lead.append(f"The vertical line is the end of RCE, after {counted(min(ends), 'epoch')}.")
    if len(sample) < len(rest):
        lead.append(
            f"Drawn are the best {len(best)} trials and {len(sample)} of the other {len(rest)}, evenly by rank. The "
            f"band is over all {len(numbers)}."
        )
    blocks: list[Block] = [Text(tuple(lead))]
    for metric in METRICS:
        chart = _chart(metric, sources, best, sample, edges)
        blocks += [chart] if chart is not None else []
    return Section("curves", "Learning curves", tuple(blocks))


def _chart(
    metric: Metric, sources: Sources, best: Sequence[int], sample: Sequence[int], edges: tuple[float, ...]
) -> Chart | None:
    curves = {number: _curve(metric.field, reports) for number, reports in sources.epochs.items()}
    everything = [curve for curve in curves.values() if curve]
    if not everything:
        return None
    band = _band(everything)
    series = [_quiet([(number, curves[number]) for number in sample])] if sample else []
    if len(everything) > BEST:
        steps = tuple(step for step, _ in band)
        low, middle, high = (tuple(found[place] for _, found in band) for place in range(3))
        series += [
            Series("middle 80 % of trials", Mark.BAND, steps, middle, Role.QUIET, low, high),
            Series("median", Mark.LINE, steps, middle, Role.QUIET),
        ]
    for place, number in enumerate(best):
        if curve := curves[number]:
            labels = tuple(f"trial {number}, epoch {step}: {value:.4g}" for step, value in curve)
            x, y = tuple(step for step, _ in curve), tuple(value for _, value in curve)
            series.append(Series(f"trial {number}", Mark.LINE, x, y, ROLES[place], labels=labels))
    first, last = band[0], band[-1]
    alt = (
        f"{metric.meaning} The median over {counted(len(everything), 'trial')} goes from {first[1][1]:.4g} at epoch "
        f"{first[0]} to {last[1][1]:.4g} at epoch {last[0]}."
    )
    axis, notes = limited(metric.title, [value for curve in everything for _, value in curve])
    steps_axis = Axis("epoch over both stages", edges=edges)
    return Chart(f"curve_{metric.field}", metric.title, steps_axis, axis, tuple(series), alt, notes)


def _curve(field: str, reports: Sequence[EpochReport]) -> list[tuple[int, float]]:
    """Finite values by step."""
    values = ((report.step, getattr(report, field)) for report in reports)
    return [(step, float(value)) for step, value in values if value is not None and math.isfinite(value)]


def _quiet(curves: Sequence[tuple[int, Sequence[tuple[int, float]]]]) -> Series:
    """Many curves as one line with gaps."""
    x: list[float] = []
    y: list[float | None] = []
    labels: list[str] = []
    for number, curve in curves:
        x += [*(step for step, _ in curve), curve[-1][0]] if curve else []
        y += [*(value for _, value in curve), None] if curve else []
        labels += [*(f"trial {number}, epoch {step}: {value:.4g}" for step, value in curve), ""] if curve else []
    return Series("other trials", Mark.LINE, tuple(x), tuple(y), Role.QUIET, labels=tuple(labels))


def _band(curves: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, tuple[float, float, float]]]:
    """By step, the quantiles `BAND` over the trials that reached it."""
    by_step: dict[int, list[float]] = {}
    for curve in curves:
        for step, value in curve:
            by_step.setdefault(step, []).append(value)
    found = []
    for step, values in sorted(by_step.items()):
        low, middle, high = np.quantile(values, BAND).tolist()
        found.append((step, (low, middle, high)))
    return found
