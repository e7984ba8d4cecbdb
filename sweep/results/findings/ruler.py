"""Findings about what trials are measured by: the validation groups, the metric, seeds, data, pruning, twins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import mean, stdev

import numpy as np

from selector.settings import ValidationMetric
from sweep.evaluation.row_kinds import RowKind
from sweep.evaluation.statistics import spearman
from sweep.evaluation.wording import counted, points, signed
from sweep.plan.splits import FEW_GROUPS
from sweep.results.compare import alike
from sweep.results.compared import SAME_SHARE
from sweep.results.evidence import Evidence
from sweep.results.finding import Change, Code, Finding, Severity
from sweep.results.importance import Target
from sweep.results.receipts import Receipt
from sweep.space.algorithms import MedianSettings, PercentileSettings, ThresholdSettings

FEWEST_ROWS = 5
"""Evaluated rows from which a correlation is worth a word."""
LIKELY = 0.25
"""A pruned trial with such a chance to have been the best is named."""
KEPT = 0.8
"""A pruner may decide from the epoch on whose order agrees so well with the final one."""
MANY_TWINS = 0.2


def identical(evidence: Evidence) -> Iterator[Finding]:
    """Complete trials that show the same demonstrations for nearly all validation queries."""
    numbers = list(evidence.picks)
    clusters = [[numbers[place] for place in group] for group in alike([evidence.picks[one] for one in numbers])]
    if not clusters:
        return
    spare = sum(len(cluster) - 1 for cluster in clusters)
    yield Finding(
        Code.IDENTICAL_TRIALS,
        Severity.WASTE if spare >= MANY_TWINS * len(numbers) else Severity.HINT,
        f"{counted(spare, 'trial')} of {len(numbers)} repeat another one: they select the same demonstrations",
        tuple(
            f"Trials {', '.join(map(str, sorted(cluster)))} agree in all picks, for {SAME_SHARE:.0%} of the validation "
            "queries or more."
            for cluster in clusters
        ),
        "count them as one; vary what moves selections (grpo.lr, reward.mode) and not what they have in common",
        tuple(sorted(one for cluster in clusters for one in cluster)),
    )


def groups(evidence: Evidence) -> Iterator[Finding]:
    """Few validation groups whose beams differ in reward: they alone decide val_loss."""
    found = evidence.groups
    if found is None or found.informative >= FEW_GROUPS:
        return
    yield Finding(
        Code.FEW_GROUPS,
        Severity.RESULT if found.informative < FEW_GROUPS / 2 else Severity.LOSS,
        f"Only {found.informative} of {counted(found.total, 'validation group')} have beams of different reward, and "
        "they alone decide val_loss",
        (
            f"One group is {1 / max(found.informative, 1):.1%} of val_loss: trials that differ by less are not told "
            "apart.",
        ),
        "measure more validation queries, or more beams for each",
    )


def metric(evidence: Evidence) -> Iterator[Finding]:
    """val_loss that ranks trials otherwise than their answers do."""
    evaluation = evidence.evaluation
    found = None if evaluation is None else evaluation.correlation
    if evaluation is None or found is None or found.rows < FEWEST_ROWS or found.rho <= 0:
        return
    high = found.interval is not None and found.interval[0] > 0
    interval = "" if found.interval is None else f" [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]"
    seen = [
        f"Rank correlation of val_loss with accuracy: {found.rho:+.2f}{interval} over {counted(found.rows, 'row')}."
    ]
    if evaluation.audit is not None:
        seen.append(evaluation.audit.conclusion)
    yield Finding(
        Code.RULER_DISAGREES,
        Severity.RESULT if high else Severity.HINT,
        "A lower val_loss went with fewer correct answers: trials were ranked and pruned by a number that misleads"
        if high
        else "A lower val_loss did not go with more correct answers among the evaluated trials",
        tuple(seen),
        "evaluate more trials (evaluation.top), and compare the metrics in the audit (docs/evaluation.md)",
        changes=_better_metric(evidence),
    )


def _better_metric(evidence: Evidence) -> tuple[Change, ...]:
    """Another val_loss, where the audit's intervals lie apart."""
    audit = None if evidence.evaluation is None else evidence.evaluation.audit
    known = [one for one in (audit.rulers if audit is not None else ()) if one.interval is not None]
    used = next((one for one in known if one.ranked), None)
    names = {one.value for one in ValidationMetric}
    better = [
        one
        for one in known
        if used is not None
        and used.interval is not None
        and one.interval is not None
        and one.metric in names
        and one.interval[1] < used.interval[0]
    ]
    if not better or used is None:
        return ()
    best = min(better, key=lambda one: one.rho or 0.0)
    why = f"was {used.metric}: it ranks as answers do ({best.rho:+.2f}), and {used.metric} does not ({used.rho:+.2f})"
    return (Change(("validation", "metric"), best.metric, why),)


def data(evidence: Evidence) -> Iterator[Finding]:
    """Twice the training queries would surely help."""
    for curve in evidence.learning_curves:
        if not curve.is_told or curve.gain is None or curve.gain.low is None or curve.gain.high is None:
            continue
        gain, answers = curve.gain, curve.target is Target.ANSWERS
        size = (
            f"{points(gain.value, signed=True)} [{signed(curve.gain.low)}, {signed(curve.gain.high)}]"
            if answers
            else f"{gain.value:.4f} [{curve.gain.low:.4f}, {curve.gain.high:.4f}] of val_loss"
        )
        largest = curve.sizes[-1].queries
        yield Finding(
            Code.TOO_LITTLE_DATA,
            Severity.LOSS,
            f"More training queries would help: {2 * largest} instead of {largest} are worth {size}",
            (
                "Means by size: "
                + ", ".join(f"{one.queries}: {one.mean:.4f} ({counted(one.trials, 'trial')})" for one in curve.sizes)
                + ".",
                "The interval is that of the extrapolation, by a power law.",
            ),
            "collect more training queries before another sweep",
        )


def seeds(evidence: Evidence) -> Iterator[Finding]:
    """The spread between seeds is as large as what separates the best."""
    yield from _repeats(evidence)
    evaluation = evidence.evaluation
    finalists = () if evaluation is None else evaluation.finalists
    spread = [one for one in finalists if one.spread is not None and one.spread > 0]
    if evaluation is None or not spread:
        return
    means = sorted(
        (row.ranked_by.value for row in evaluation.rows if row.kind is RowKind.FINALIST and row.ranked_by is not None),
        reverse=True,
    )
    widest = max(one.spread or 0.0 for one in spread)
    number = min(len(one.seeds) for one in spread)
    if len(means) > 1 and means[0] - means[1] < 2 * widest * math.sqrt(2 / number):
        yield _seeds_change(
            f"The best two finalists are {points(means[0] - means[1])} apart, and fresh seeds of one spread by "
            f"{points(widest)} (standard deviation, {number} seeds).",
            f"evaluation.finalists.seeds: more than {number}",
            (
                Change(
                    ("evaluation", "finalists", "seeds"),
                    2 * number,
                    f"was {number}: seeds differ by as much as the best two finalists",
                ),
            ),
        )


def _repeats(evidence: Evidence) -> Iterator[Finding]:
    """Repeats of configurations, in val_loss."""
    members: dict[str, list[float]] = {}
    for row in evidence.complete:
        members.setdefault(row.key, []).append(float(row.value or 0.0))
    repeated = [values for values in members.values() if len(values) > 1]
    if len(members) < 2 or not repeated:
        return
    spread = math.sqrt(mean(stdev(values) ** 2 for values in repeated))
    best, second = sorted((mean(values), len(values)) for values in members.values())[:2]
    error = spread * math.sqrt(1 / best[1] + 1 / second[1])
    if second[0] - best[0] < 2 * error:
        repeats = evidence.space.repeats
        yield _seeds_change(
            f"The best two configurations are {second[0] - best[0]:.4f} of val_loss apart, and seeds of one "
            f"configuration spread by {spread:.4f} (standard deviation).",
            f"raise repeats from {repeats} to {repeats + 2}, with fewer configurations",
            (Change(("repeats",), repeats + 2, f"was {repeats}: seeds differ by as much as the best configurations"),),
        )


def _seeds_change(seen: str, advice: str, changes: tuple[Change, ...]) -> Finding:
    return Finding(
        Code.SEEDS_CHANGE_WINNER,
        Severity.RESULT,
        "Another seed may make another one the best",
        (seen,),
        advice,
        changes=changes,
    )


def pruning(evidence: Evidence) -> Iterator[Finding]:
    """Pruned trials that may well have been the best."""
    found = [one for one in evidence.receipts if (one.chance or 0.0) >= LIKELY]
    if not found:
        return
    found.sort(key=lambda one: -(one.regret or 0.0))
    kept = evidence.equivalents.order_kept
    seen = [_receipt_words(one) for one in found[:5]]
    if kept is not None:
        seen.append(
            f"Among complete trials, the order at the epochs of pruning agrees with the final one by {kept:+.2f}."
        )
    changes = _later(evidence)
    how = f"to {changes[0].value}" if changes else "until the order of trials settles"
    yield Finding(
        Code.PRUNED_THE_BEST,
        Severity.LOSS,
        f"Pruning may have cost the best: {counted(len(found), 'pruned trial')} would have become it with a chance of "
        f"{LIKELY:.0%} or more",
        tuple(seen),
        f"let trials run longer before they are pruned: raise pruner.n_warmup_steps {how}",
        tuple(sorted(one.trial for one in found)),
        changes,
    )


def _receipt_words(one: Receipt) -> str:
    return (
        f"Trial {one.trial}, stopped at epoch {one.epoch} with {one.value:.4f}: had it improved as the "
        f"{one.ran_on} that ran on, {one.expected:.4f} at the end, the best of the run with chance {one.chance:.0%}."
    )


def _later(evidence: Evidence) -> tuple[Change, ...]:
    """The first epoch from which the order of complete trials is much as at the end."""
    pruner = evidence.space.pruner
    if not isinstance(pruner, MedianSettings | PercentileSettings | ThresholdSettings):
        return ()
    later = settled_epoch(evidence)
    if later is None or later <= pruner.n_warmup_steps:
        return ()
    why = f"was {pruner.n_warmup_steps}: the order of trials is as at the end from epoch {later} on"
    return (Change(("pruner", "n_warmup_steps"), later, why),)


def settled_epoch(evidence: Evidence) -> int | None:
    """The first counted epoch whose order of complete trials agrees with the final one. None for few trials."""
    curves = [[one.val_loss for one in evidence.grpo(row.number)] for row in evidence.complete]
    final = [float(row.value or 0.0) for row in evidence.complete]
    length = min((len(curve) for curve in curves), default=0)
    if len(curves) < FEWEST_ROWS or np.ptp(final) == 0:
        return None
    for epoch in range(1, length + 1):
        early = np.array([min(curve[:epoch]) for curve in curves])
        if np.ptp(early) > 0 and spearman(early, np.array(final)) >= KEPT:
            return epoch
    return length or None
