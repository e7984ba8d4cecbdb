"""Findings about how trials trained: signal, KL, the epoch that was best, and overfitting."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from selector.health import Verdict
from sweep.evaluation.row_kinds import RowKind
from sweep.evaluation.wording import counted, signed
from sweep.results.evidence import Evidence
from sweep.results.finding import Change, Code, Finding, Severity
from sweep.results.findings.ranges import shown
from sweep.space.addresses import Scalar
from sweep.space.algorithms import MedianSettings, PercentileSettings
from sweep.space.parameters import CategoricalParameter, FixedParameter, FloatParameter, IntParameter
from sweep.study import TrialSummary

MOST = 0.5
"""A share of the trials from which something is said of the run."""
LONGER = 1.5
FEWEST_TRIALS = 3
FEWEST_OF_MODE = 2
OFTEN = 2 / 3


def health(evidence: Evidence) -> Iterator[Finding]:
    """Verdicts of the epochs that stand for trials, where they concern many of them."""
    ended = [row for row in evidence.rows if row.state.is_finished() and row.standing.best_step is not None]
    for verdict, make in ((Verdict.DEAD_SIGNAL, _dead_signal), (Verdict.KL_DOMINATED, _kl), (Verdict.NO_OP, _no_op)):
        with_it = [row for row in ended if verdict in row.verdicts]
        if with_it and len(with_it) >= MOST * len(ended):
            yield make(evidence, with_it, len(ended))
        elif verdict is Verdict.DEAD_SIGNAL and with_it:
            yield from _dead_modes(evidence, ended, with_it)


def _numbers(rows: Sequence[TrialSummary]) -> tuple[int, ...]:
    return tuple(sorted(row.number for row in rows))


def _dead_signal(evidence: Evidence, rows: Sequence[TrialSummary], of: int) -> Finding:
    zero = [reports[-1].zero_variance_share for row in rows if (reports := evidence.grpo(row.number))]
    spread = [
        r[-1].advantage_std for row in rows if (r := evidence.grpo(row.number)) and r[-1].advantage_std is not None
    ]
    seen = [f"{counted(len(rows), 'trial')} of {of} carry the verdict dead_signal."]
    if zero:
        seen.append(f"Groups with equal rewards only: {median(zero):.0%} (median).")
    if spread:
        seen.append(f"Standard deviation of the advantages: {median(spread):.3g} (median).")
    return Finding(
        Code.DEAD_SIGNAL,
        Severity.LOSS,
        "Rewards hardly differ within a group, so trials had little to learn from",
        tuple(seen),
        "measure more, or more different, beams per query, or take a reward.mode that tells them apart "
        "(`python -m sweep data describe` shows each)",
        _numbers(rows),
    )


def _dead_modes(evidence: Evidence, ended: Sequence[TrialSummary], dead: Sequence[TrialSummary]) -> Iterator[Finding]:
    """Reward modes under which every trial had a dead signal, beside others that work."""
    parameter = evidence.space.parameters.get("reward.mode")
    if not isinstance(parameter, CategoricalParameter):
        return
    number = {row.number for row in dead}
    tried = Counter(row.params.get("reward.mode") for row in ended)
    modes = {mode for mode, count in tried.items() if mode is not None and count >= FEWEST_OF_MODE}
    modes -= {row.params.get("reward.mode") for row in ended if row.number not in number}
    left: list[Scalar] = [choice for choice in parameter.choices if choice not in modes]
    if not modes or not left:
        return
    names = ", ".join(sorted(map(str, modes)))
    why = f"without {names}: every trial with it had a dead signal"
    value: tuple[Change, ...] = (
        (Change(("parameters", "reward.mode", "choices"), left, why),)
        if len(left) > 1
        else (Change(("parameters", "reward.mode"), {"type": "fixed", "value": left[0]}, why),)
    )
    rows = [row for row in dead if row.params.get("reward.mode") in modes]
    yield Finding(
        Code.DEAD_SIGNAL,
        Severity.WASTE,
        f"Under reward.mode {names} rewards hardly differ within a group: there is nothing to learn from",
        (f"All {counted(len(rows), 'trial')} with it carry the verdict dead_signal.",),
        f"leave {names} out",
        _numbers(rows),
        value,
    )


def _kl(evidence: Evidence, rows: Sequence[TrialSummary], of: int) -> Finding:
    share = [r[-1].kl_share for row in rows if (r := evidence.grpo(row.number)) and r[-1].kl_share is not None]
    seen = [f"{counted(len(rows), 'trial')} of {of} carry the verdict kl_dominated."]
    if share:
        seen.append(f"KL's share of the loss in the last epoch: {median(share):.0%} (median).")
    return Finding(
        Code.KL_DOMINATED,
        Severity.LOSS,
        "The loss of most trials is almost only the KL penalty: they are held to the warm-up",
        tuple(seen),
        "lower grpo.kl_beta",
        _numbers(rows),
        _lower(evidence, "grpo.kl_beta", 3.0, f"{len(rows)} of {of} trials were KL-dominated"),
    )


def _lower(evidence: Evidence, path: str, factor: float, why: str) -> tuple[Change, ...]:
    """A setting, or its range, divided by a factor."""
    parameter = evidence.space.parameters.get(path)
    if isinstance(parameter, FloatParameter) and parameter.step is None and parameter.low > 0:
        ends = (("low", parameter.low), ("high", parameter.high))
        return tuple(
            Change(("parameters", path, end), float(f"{value / factor:.2g}"), f"was {shown(value)}: {why}")
            for end, value in ends
        )
    if parameter is None and isinstance(value := evidence.space.base[path], float) and value > 0:
        return (Change(("trial", *path.split(".")), float(f"{value / factor:.2g}"), f"was {shown(value)}: {why}"),)
    return ()


def _no_op(evidence: Evidence, rows: Sequence[TrialSummary], of: int) -> Finding:
    return Finding(
        Code.NO_OP,
        Severity.LOSS,
        "Most trials select exactly what their warm-up selects: GRPO changed nothing",
        (f"{counted(len(rows), 'trial')} of {of} carry the verdict no_op.",),
        "let GRPO move the policy further: a higher grpo.lr, a lower grpo.kl_beta, more grpo.epochs",
        _numbers(rows),
    )


# Which epoch was best -----------------------------------------------------------------------------------------------


def best_epochs(evidence: Evidence) -> Iterator[Finding]:
    """Whether most complete trials are best at their first or at their last epoch of GRPO."""
    curves = {row.number: reports for row in evidence.complete if len(reports := evidence.grpo(row.number)) > 1}
    if len(curves) < FEWEST_TRIALS:
        return
    first, last = [], []
    for number, reports in curves.items():
        best = min(reports, key=lambda one: (one.val_loss, one.step))
        before = min((one.val_loss for one in evidence.rce(number)), default=math.inf)
        if before < best.val_loss or best is reports[0]:
            first.append(number)
        elif best is reports[-1]:
            last.append(number)
    if len(first) >= MOST * len(curves):
        yield Finding(
            Code.BEST_EPOCH_FIRST,
            Severity.LOSS,
            "Most complete trials are best at their first epoch of GRPO, or before it: stage two undoes the warm-up, "
            "or val_loss punishes what it does",
            (f"{counted(len(first), 'trial')} of {len(curves)}: {_list(first)}.",),
            "lower grpo.lr, or raise grpo.kl_beta; whether val_loss is at fault, the audit of metrics says "
            "(docs/evaluation.md)",
            tuple(first),
        )
    if len(last) >= MOST * len(curves):
        yield _too_short(evidence, last, len(curves))


def _too_short(evidence: Evidence, last: Sequence[int], of: int) -> Finding:
    falls = [evidence.grpo(number)[-2].val_loss - evidence.grpo(number)[-1].val_loss for number in last]
    why = f"{len(last)} of {of} complete trials were best at their last epoch"
    epochs = evidence.space.epochs()[1]
    more = math.ceil(epochs * LONGER)
    return Finding(
        Code.BEST_EPOCH_LAST,
        Severity.LOSS,
        "Most complete trials are best at their last epoch: training was too short",
        (
            f"{counted(len(last), 'trial')} of {of}: {_list(last)}.",
            f"In that epoch val_loss still fell by {median(falls):.3g} (median).",
        ),
        f"raise grpo.epochs from {epochs} to {more}",
        tuple(last),
        (*_epochs(evidence, more, why), *_warm_up_of_pruner(evidence)),
    )


def _epochs(evidence: Evidence, more: int, why: str) -> tuple[Change, ...]:
    parameter = evidence.space.parameters.get("grpo.epochs")
    if parameter is None:
        was = evidence.space.base["grpo.epochs"]
        return (Change(("trial", "grpo", "epochs"), more, f"was {was}: {why}"),)
    if isinstance(parameter, IntParameter):
        step = parameter.step or 1
        high = parameter.low + math.ceil((more - parameter.low) / step) * step
        return (Change(("parameters", "grpo.epochs", "high"), high, f"was {parameter.high}: {why}"),)
    if isinstance(parameter, FixedParameter):
        return (Change(("parameters", "grpo.epochs", "value"), more, f"was {parameter.value}: {why}"),)
    return ()


def _warm_up_of_pruner(evidence: Evidence) -> tuple[Change, ...]:
    """Longer trials are left alone for longer: the same share of their epochs."""
    pruner = evidence.space.pruner
    if not isinstance(pruner, MedianSettings | PercentileSettings) or not pruner.n_warmup_steps:
        return ()
    more = math.ceil(pruner.n_warmup_steps * LONGER)
    text = f"was {pruner.n_warmup_steps}: the same share of longer trials"
    return (Change(("pruner", "n_warmup_steps"), more, text),)


def _list(numbers: Sequence[int], most: int = 12) -> str:
    shown_ones = ", ".join(map(str, sorted(numbers)[:most]))
    return f"trials {shown_ones}{f' and {len(numbers) - most} more' if len(numbers) > most else ''}"


# Overfitting --------------------------------------------------------------------------------------------------------


def overfitting(evidence: Evidence) -> Iterator[Finding]:
    """val_loss rises after its best epoch while the training loss goes on falling, or train questions do better."""
    seen, trials = [], []
    of = 0
    for row in evidence.complete:
        reports = evidence.grpo(row.number)
        if len(reports) < FEWEST_TRIALS:
            continue
        of += 1
        best = min(reports, key=lambda one: (one.val_loss, one.step))
        fallen = reports[0].val_loss - best.val_loss
        risen = reports[-1].val_loss - best.val_loss
        if reports[-1].train_loss < best.train_loss and risen > max(0.0, fallen) / 2 and risen > 0:
            trials.append(row.number)
    often = of >= FEWEST_TRIALS and len(trials) >= OFTEN * of
    if often:
        seen.append(
            f"In {len(trials)} of {counted(of, 'complete trial')}, val_loss rises after its best epoch by more than "
            "half of what it had fallen, while the training loss goes on falling."
        )
    for one in evidence.evaluation.rows if evidence.evaluation is not None else ():
        gap = one.train.gap if one.train is not None and one.kind is RowKind.TRIAL else None
        if gap is not None and gap.low > 0:
            seen.append(
                f"{one.name} answers training questions better than held-out ones by {signed(gap.value)} points "
                f"[{signed(gap.low)}, {signed(gap.high)}]."
            )
    if seen:
        yield Finding(
            Code.OVERFITTING,
            Severity.LOSS if often else Severity.HINT,
            "Trials fit their training queries better than others: they overfit",
            tuple(seen),
            "collect more queries, or regularise (model.dropout, grpo.weight_decay, a smaller model.hidden)",
            tuple(trials) if often else (),
        )


# Failures -----------------------------------------------------------------------------------------------------------


def failures(evidence: Evidence) -> Iterator[Finding]:
    """Trials that failed or diverged, and a run without a complete one."""
    rows, names = evidence.rows, Counter(row.state_name for row in evidence.rows)
    failed = [row for row in rows if row.state_name == "fail"]
    diverged = [row for row in rows if Verdict.DIVERGED in row.verdicts]
    if rows and not evidence.complete and names["running"] == 0:
        pruned = [row for row in rows if row.state_name == "pruned"]
        why = "no trial was completed: the pruner stopped them all"
        yield Finding(
            Code.NO_COMPLETE_TRIAL,
            Severity.RESULT,
            "No trial was completed, so there is nothing to rank",
            (", ".join(f"{count} {name}" for name, count in sorted(names.items())) + ".",),
            "let every trial run to its end (`pruner: none`)" if pruned else "mend the reason of the failures",
            _numbers(rows),
            (Change(("pruner",), {"type": "none"}, why),) if pruned and len(diverged) < len(pruned) else (),
        )
    if failed:
        reasons = Counter(row.reason for row in failed).most_common(3)
        yield Finding(
            Code.FAILED_TRIALS,
            Severity.RESULT if len(failed) >= MOST * len(rows) else Severity.WASTE,
            f"{counted(len(failed), 'trial')} of {len(rows)} failed",
            tuple(f"{count} times: {reason or 'no reason is known'}" for reason, count in reasons),
            "mend the reason; `python -m sweep status --all` shows each trial's",
            _numbers(failed),
        )
    if diverged:
        yield Finding(
            Code.DIVERGED,
            Severity.WASTE,
            f"{counted(len(diverged), 'trial')} of {len(rows)} diverged",
            tuple(f"Trial {row.number}: {row.reason or 'diverged'}." for row in diverged[:3]),
            "lower the upper end of grpo.lr, or set grpo.grad_clip",
            _numbers(diverged),
        )
