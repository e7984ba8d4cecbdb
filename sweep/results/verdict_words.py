"""The words of a verdict. No other module words a conclusion about a run."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.evaluation.wording import counted, p_text, points, signed
from sweep.plan.splits import FEW_GROUPS
from sweep.results.comparison import Comparison
from sweep.results.run_verdict import VerdictKind
from sweep.study import TrialSummary

MOVE_FURTHER = "let GRPO move the policy further: a higher grpo.lr, a lower grpo.kl_beta, more grpo.epochs"
JOINT = "The interval holds for all comparisons of the table together, so it is wider than the one there."
NAMED = 5


def sentence(found: Comparison) -> str:
    """The verdict on a comparison."""
    difference, best, baseline = found.difference, _in_brackets(found.best), found.baseline
    size = f"{_size(found)}, corrected p {p_text(difference.p_holm)}, on {counted(difference.questions, 'question')}"
    others = f"{_trials(found.others)} {'does' if len(found.others) == 1 else 'do'}" if found.others else ""
    match found.kind:
        case VerdictKind.BEATS_BASELINE:
            return f"{best} beats {baseline}: {size}"
        case VerdictKind.EQUAL_TO_BASELINE:
            each = f"does exactly as well on each of {counted(difference.questions, 'question')}"
            how = "shows exactly its demonstrations" if found.same else each
            return f"no trial beats {baseline}: the best, {best}, {how}"
        case _ if others:
            return f"{best} does not beat {baseline} ({size}), but {others}"
        case VerdictKind.WORSE_THAN_BASELINE:
            return f"no trial beats {baseline}: the best, {best}, is worse ({size})"
        case _:
            seeds = ", given the spread between seeds" if difference.is_sure else ""
            surely = "surely " if difference.value > 0 else ""
            return f"no trial {surely}beats {baseline}{seeds} (best: {best}, {size})"


def _in_brackets(row: str) -> str:
    """`trial 7, 3 fresh seeds` as `trial 7 (3 fresh seeds)`, for a sentence with commas of its own."""
    name, comma, rest = row.partition(", ")
    return f"{name} ({rest})" if comma else name


def _size(found: Comparison) -> str:
    low, high = found.difference.joint or (found.difference.low, found.difference.high)
    if found.by_answers:
        return f"{points(found.difference.value, signed=True)} [{signed(low)}, {signed(high)}]"
    middle, low, high = (round(value, 3) + 0.0 for value in (found.difference.value, low, high))  # + 0.0: no "-0.000"
    return f"{middle:+.3f} [{low:+.3f}, {high:+.3f}]"


def details(found: Comparison) -> tuple[str, ...]:
    """How the best stands among the rows, and what its interval means."""
    shown = found.kind is not VerdictKind.EQUAL_TO_BASELINE
    joint = shown and found.difference.joint is not None and found.comparisons > 1
    return (found.place, JOINT) if joint else (found.place,)


def next_steps(found: Comparison, needed: int | None) -> tuple[str, ...]:
    """What to do now. `needed` questions tell a difference of 0.01."""
    steps = []
    if found.kind is VerdictKind.EQUAL_TO_BASELINE:
        steps.append(MOVE_FURTHER)
    elif found.kind is not VerdictKind.BEATS_BASELINE and found.others:
        steps.append(f"look at {_trials(found.others)}, and at how val_loss ranks the rows")
    elif found.kind is not VerdictKind.BEATS_BASELINE:
        steps.append("measure more training queries, or more beams for each, before you try other settings")
    if needed is None:
        return tuple(steps)
    one, asked = "1 point" if found.by_answers else "0.01", found.difference.questions
    if needed <= asked:
        steps.append(f"these {asked:,} questions are enough to tell a difference of {one} (with probability 80 %)")
    else:
        steps.append(
            f"to tell a difference of {one} from {found.baseline} (with probability 80 %), ask "
            f"{needed - asked:,} more questions of this kind, {needed:,} in all"
        )
    return tuple(steps)


def about_val_loss(complete: Sequence[TrialSummary], informative: int | None, total: int | None) -> tuple[str, ...]:
    """Reasons to distrust the order of the trials by val_loss.

    Args:
        complete: trials, best on top.
        informative: groups of the validation split whose beams differ in reward. None if that is not known.
        total: groups of that split.
    """
    found = []
    first = [row.number for row in complete if row.value == complete[0].value]
    if len(first) > 1:
        found.append(f"{_trials(first).capitalize()} have exactly the same val_loss, so their order says nothing.")
    if informative is not None and total is not None and informative < FEW_GROUPS:
        verb = "has" if informative == 1 else "have"
        found.append(
            f"Of {counted(total, 'validation group')} only {informative} {verb} beams of different reward, and they "
            "alone decide val_loss: measure more validation queries, or more beams for each."
            if informative < total
            else f"There are only {counted(total, 'validation group')}, and they alone decide val_loss: measure more "
            "validation queries."
        )
    return tuple(found)


def _trials(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"{'trial' if len(numbers) == 1 else 'trials'} {', '.join(map(str, numbers[:NAMED]))}{more}"
