"""Which trial wins, and how it stands among the rows. Whether it beats the baseline, the run's verdict words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from selector.health import Verdict
from sweep.evaluation.records import Difference, FinalistRecord, RowRecord, WinnerRecord
from sweep.evaluation.rows import RowKind
from sweep.evaluation.wording import counted, p_text, points, signed
from sweep.settings.evaluation import LEVEL


@dataclass(frozen=True)
class Contest:
    """What a verdict is read from.

    Attributes:
        measure: the ranking measure in words.
        verdicts: those of every complete trial of the run, in the table or not.
    """

    records: tuple[RowRecord, ...]
    finalists: tuple[FinalistRecord, ...]
    baseline: str
    measure: str
    verdicts: tuple[Sequence[str], ...] = ()

    def row(self, name: str) -> RowRecord | None:
        """A row by name."""
        return next((row for row in self.records if row.name == name), None)

    def spread_of(self, row: RowRecord) -> tuple[float | None, int] | None:
        """Standard deviation between a finalist's seeds and their number. None for rows of a single training."""
        return next(((item.spread, len(item.seeds)) for item in self.finalists if item.row == row.name), None)


def decide(contest: Contest) -> WinnerRecord:
    """The best trained row by the ranking measure, of those that saw every question.

    If trials were trained again, only those configurations compete, by the mean over their fresh seeds. The seeds of
    the sweep have been selected for luck (Eimer, Lindauer & Raileanu, ICML 2023).

    Two rows are called distinguishable if the paired test over questions says so after correction. Where there are
    seeds, the difference must also exceed what the spread between seeds explains (t interval over seeds at 5 %).
    """
    kinds = (RowKind.FINALIST,) if contest.finalists else (RowKind.TRIAL, RowKind.EPOCH)
    entered = [
        row for row in contest.records if row.kind in kinds and row.dropped_after is None and row.ranked_by is not None
    ]
    if not entered:
        return WinnerRecord(
            row=None,
            trial=None,
            step=None,
            over_baseline=False,
            alone=False,
            sentence=f"No trial was evaluated{_why_none(contest)}.",
        )
    winner = entered[0]
    over_baseline = _is_above(contest, winner, winner.minus_baseline, contest.row(contest.baseline))
    rivals = [row for row in contest.records if row.in_best_set and _first_alike(row) != _first_alike(winner)]
    alone = winner.in_best_set and not rivals and _seeds_agree(contest, winner)
    return WinnerRecord(
        row=winner.name,
        trial=winner.trial,
        step=winner.step,
        over_baseline=over_baseline,
        alone=alone,
        sentence=" ".join(_sentences(contest, winner, rivals, alone)),
    )


def _why_none(contest: Contest) -> str:
    """Why no complete trial is a row of the table."""
    if not contest.verdicts or any(row.kind.is_trained for row in contest.records):
        return ""
    no_op = sum(Verdict.NO_OP in verdicts for verdicts in contest.verdicts)
    others = len(contest.verdicts) - no_op
    what = (
        "1 complete trial is labelled no_op: it selects what its reference selects"
        if no_op == 1
        else f"{no_op} complete trials are labelled no_op: they select what their references select"
    )
    gone = f"the checkpoints of {counted(others, 'trial')} are gone or damaged (run.log says which)"
    return f": {'; '.join([*([what] if no_op else []), *([gone] if others else [])])}"


def _first_alike(row: RowRecord) -> str:
    """The first row of those that show the same demonstrations."""
    return row.same_as or row.name


def nothing_correct(records: Sequence[RowRecord]) -> bool:
    """Whether the model answered, and no answer of any row is worth anything by the metric that ranks."""
    known = [estimate.value for row in records for estimate in row.shots if estimate is not None]
    return bool(known) and not any(known)


def equal_rows(records: Sequence[RowRecord], winner: RowRecord) -> list[str]:
    """Rows of the contest whose measure equals the winner's to the last digit."""
    compared = [row for row in records if row is not winner and row.best_p is not None]
    return [row.name for row in compared if _value(row) == _value(winner)]


def _value(row: RowRecord) -> float | None:
    return row.ranked_by.value if row.ranked_by is not None else None


def _sentences(contest: Contest, winner: RowRecord, rivals: Sequence[RowRecord], alone: bool) -> list[str]:
    ranked = winner.ranked_by
    if ranked is None:
        return []
    if nothing_correct(contest.records):
        return ["No row has a correct answer, so trials stand in the order of val_loss."]
    sentences = [
        f"{winner.name} has the highest {contest.measure} of all trials: {100 * ranked.value:.1f} % "
        f"[{100 * ranked.low:.1f}, {100 * ranked.high:.1f}] on {counted(ranked.questions, 'question')}."
    ]
    if winner.same_as is not None:
        sentences.append(f"It shows exactly the demonstrations of {winner.same_as}.")
    equal = equal_rows(contest.records, winner)
    others = [row.name for row in contest.records if row.name in equal and _first_alike(row) != _first_alike(winner)]
    if others:
        sentences.append(f"Exactly as high: {', '.join(others)}.")
    if winner.next_row not in (None, contest.baseline, *equal):
        following = contest.row(winner.next_row or "")
        above = _is_above(contest, winner, winner.minus_next, following)
        sentences.append(_against(f"the next row, {winner.next_row}", winner.minus_next, above))
    ahead = [row.name for row in contest.records if row.rank < winner.rank and row.name not in equal]
    if ahead:
        sentences.append(f"Ahead of it: {', '.join(ahead)}.")
    rivals = [row for row in rivals if row.name not in equal]
    if rivals or not others:
        sentences.append(_best_set(winner, rivals, alone))
    seeds = contest.spread_of(winner)
    if seeds is not None:
        spread, count = seeds
        known = f"a standard deviation of {points(spread)}" if spread is not None else "an unknown spread"
        if count == 1:
            sentences.append("It was trained again under one fresh seed, so the spread between seeds is unknown.")
        else:
            sentences.append(f"Between its {count} fresh seeds there is {known}.")
    return sentences


def _against(other: str, difference: Difference | None, above: bool) -> str:
    if difference is None:
        return f"It cannot be compared to {other}: no question was answered for both."
    size = (
        f"{points(difference.value, signed=True)} "
        f"[{signed(difference.low)}, {signed(difference.high)}], corrected p {p_text(difference.p_holm)}"
    )
    if above:
        return f"It is better than {other} ({size})."
    if difference.is_sure and difference.value < 0:
        return f"It is worse than {other} ({size})."
    why = ", given the spread between seeds" if difference.is_sure else ""
    return f"It cannot be distinguished from {other}{why} ({size})."


def _best_set(winner: RowRecord, rivals: Sequence[RowRecord], alone: bool) -> str:
    if not winner.in_best_set:
        return f"It is not among the best rows, which are {', '.join(row.name for row in rivals)}."
    if alone:
        return "No other row may be the best one."
    if not rivals:
        return "No other row may be the best one on these questions, but other seeds could turn that."
    names = ", ".join(row.name for row in rivals)
    return f"As good as it, as far as these questions tell: {names}."


def _is_above(contest: Contest, row: RowRecord, difference: Difference | None, other: RowRecord | None) -> bool:
    if difference is None or other is None or not difference.is_sure or difference.value <= 0:
        return False
    return difference.value > _seed_reach(contest, row, other)


def _seeds_agree(contest: Contest, winner: RowRecord) -> bool:
    """Whether the winner's lead over every other finalist exceeds what the spread between seeds explains."""
    ours = winner.ranked_by
    for finalist in contest.finalists:
        row = contest.row(finalist.row)
        if row is None or row is winner or row.ranked_by is None or ours is None:
            continue
        if ours.value - row.ranked_by.value <= _seed_reach(contest, winner, row):
            return False
    return True


def _seed_reach(contest: Contest, row: RowRecord, other: RowRecord) -> float:
    """Half width of the 95 % t interval, over seeds, of the difference between two rows. 0 where neither has seeds.

    Infinite where a row has fresh seeds but too few to know their spread.
    """
    found = [spread for spread in (contest.spread_of(row), contest.spread_of(other)) if spread is not None]
    if not found:
        return 0.0
    freedom = sum(count - 1 for _, count in found)
    if freedom < 1 or any(spread is None for spread, _ in found):
        return math.inf
    variance = sum((spread or 0.0) ** 2 / count for spread, count in found)
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    return float(stdtrit(freedom, 1 - LEVEL / 2)) * math.sqrt(variance)
