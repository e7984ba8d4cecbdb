"""The verdict of the run, and what the labels of its trials mean."""

from __future__ import annotations

from collections.abc import Sequence

from selector.health import Verdict
from selector.settings import HealthSettings
from sweep.evaluation.wording import counted
from sweep.results.doctor import Diagnosis
from sweep.results.overview.model import Block, Column, Finding, Findings, Section, Table, Text
from sweep.results.overview.sources import Sources
from sweep.results.run_state import RunState
from sweep.study import TrialState

NAMED = 12


def headline(sources: Sources) -> str:
    """The verdict in one sentence. While there is none, how the run stands."""
    if sources.verdict is not None:
        return f"{_capital(sources.verdict.sentence)}."
    status = sources.status
    planned = "" if status.planned is None else f" of {status.planned}"
    if not status.rows:
        return f"No trial has begun yet; the run is {_state(sources)}."
    best = status.best
    so_far = "none is complete yet"
    if best is not None:
        so_far = f"the best val_loss so far is {best.value:.4f} (trial {best.number})"
    return f"No verdict yet: the run is {_state(sources)}, {status.ended}{planned} trials have ended, {so_far}."


def _capital(sentence: str) -> str:
    return f"{sentence[:1].upper()}{sentence[1:]}"


def _state(sources: Sources) -> str:
    status = sources.status
    record = status.driver.record
    if status.state is RunState.RUNNING and record is not None:
        return f"running ({record.phase.value})"
    if status.state is RunState.DEAD:
        return "stopped: its driver ended without a word"
    return status.state.value


def verdict_section(sources: Sources, diagnosis: Diagnosis) -> Section:
    """The sentence, what else is known, what comes next, and what was found in the trials."""
    verdict = sources.verdict
    blocks: list[Block] = [Text((headline(sources),), strong=True)]
    if verdict is not None:
        blocks += [Text(tuple(map(_capital, verdict.details)))] if verdict.details else []
        steps = tuple(f"Next: {step}." for step in verdict.next_steps)
        blocks += [Text(steps, listed=True)] if steps else []
        if verdict.example is not None:
            one = verdict.example
            expected = ", ".join(one.references)
            blocks.append(
                Text((f"For example {one.question!r} was answered {one.answer!r}, and expected was: {expected}.",))
            )
    if sources.problems:
        blocks.append(Text(tuple(f"Cannot be read: {problem}" for problem in sources.problems), listed=True))
    return Section("verdict", "Verdict", (*blocks, _findings(diagnosis), _counts(sources)))


def _findings(diagnosis: Diagnosis) -> Findings:
    """What `python -m sweep doctor` says."""
    found = tuple(
        Finding(one.code.value, one.title, one.evidence, one.advice, one.trials) for one in diagnosis.findings
    )
    looked = tuple(f"Not known: {one}" for one in diagnosis.not_looked)
    return Findings("findings", "What was found, worst first", found, looked)


def _counts(sources: Sources) -> Table:
    columns = Column("state", "state"), Column("count", "trials")
    planned = [] if sources.status.planned is None else [("planned", sources.status.planned)]
    rows = (*planned, *sources.status.counts.items())
    return Table("states", "Trials by state", columns, rows)


def health_section(sources: Sources) -> Section:
    """Each verdict in words, with the trials that have it."""
    health = sources.space.health
    holders = {verdict: [row.number for row in sources.rows if verdict in row.verdicts] for verdict in Verdict}
    columns = (
        Column("verdict", "verdict"),
        Column("count", "trials"),
        Column("trials", "which"),
        Column("meaning", "what it means"),
        Column("change", "what to change"),
    )
    rows = tuple(
        (verdict.value, len(holders[verdict]), _numbers(holders[verdict]), *_words(verdict, health))
        for verdict in Verdict
    )
    failed = [row for row in sources.rows if row.state is TrialState.FAIL]
    blocks: list[Block] = [Table("verdicts", "Verdicts on the epoch that stands for each trial", columns, rows)]
    if failed:
        reasons = tuple((row.number, row.last_step, row.reason) for row in failed)
        failures = Column("trial", "trial"), Column("last_epoch", "after epoch"), Column("reason", "why")
        blocks.append(Table("failures", f"{counted(len(failed), 'failed trial')}", failures, reasons))
    return Section("health", "What the verdicts on trials mean", tuple(blocks))


def _numbers(numbers: Sequence[int]) -> str:
    ordered = sorted(numbers)
    more = f" and {len(ordered) - NAMED} more" if len(ordered) > NAMED else ""
    return f"{', '.join(map(str, ordered[:NAMED]))}{more}"


def _words(verdict: Verdict, health: HealthSettings) -> tuple[str, str]:
    """Meaning, with the threshold of this run, and the change to make."""
    match verdict:
        case Verdict.NO_OP:
            return (
                f"At least {health.no_op_agreement:.0%} of the validation queries get the same demonstrations in the "
                "same order as from the warm-up: GRPO changed nothing that anybody would see.",
                "A higher grpo.lr, a lower grpo.kl_beta, or more grpo.epochs.",
            )
        case Verdict.KL_DOMINATED:
            return (
                f"More than {health.kl_share:.0%} of the loss is the penalty for leaving the warm-up, so the rewards "
                "hardly count. The share grows over a healthy trial, too.",
                "A lower grpo.kl_beta, or grpo.ppo_clip_only: true.",
            )
        case Verdict.DEAD_SIGNAL:
            return (
                f"The advantages have a standard deviation below {health.advantage_std:g}, or more than "
                f"{health.zero_variance_share:.0%} of the queries have beams of equal reward: nothing to learn from.",
                "More beams per query, another reward.mode, or grpo.top_k.enabled: false.",
            )
        case _:
            return (
                f"A loss, KL or gradient is no number any more, or beyond its limit (KL {health.max_kl:g}, loss "
                f"{health.max_loss:g}).",
                "A lower grpo.lr, or a lower grpo.grad_clip.",
            )
