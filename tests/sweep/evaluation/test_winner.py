"""The verdict says what the numbers allow, and no more."""

from __future__ import annotations

import pytest

from sweep.evaluation.records import Difference, Estimate, FinalistRecord, RowRecord, SeedRecord
from sweep.evaluation.rows import RowKind
from sweep.evaluation.winner import Contest, decide


def row(
    rank: int,
    name: str,
    value: float,
    kind: RowKind = RowKind.TRIAL,
    *,
    gain: tuple[float, float] | None = None,
    lead: tuple[float, float] | None = None,
    next_row: str | None = None,
    best: bool = False,
    dropped: int | None = None,
    same_as: str | None = None,
) -> RowRecord:
    """A row; `gain` and `lead` are a difference (to the baseline, to the next row) and its corrected p."""

    def difference(pair: tuple[float, float] | None) -> Difference | None:
        if pair is None:
            return None
        size, p = pair
        return Difference(value=size, low=size - 0.02, high=size + 0.02, questions=800, p=p / 2, p_holm=p)

    estimate = Estimate(value=value, low=value - 0.03, high=value + 0.03, questions=800)
    number = int(name.split(",")[0].split()[-1]) if name.startswith("trial") else None
    return RowRecord(
        name=name,
        kind=kind,
        trial=number,
        step=4 if kind is RowKind.TRIAL else None,
        seed=None,
        val_loss=None,
        checkpoint=None,
        rank=rank,
        asked=dropped or 800,
        dropped_after=dropped,
        failures=0,
        short_pools=(0,),
        same_as=same_as,
        shots=(estimate,),
        mean=estimate,
        ranked_by=estimate,
        minus_baseline=difference(gain),
        minus_baseline_by_shot=(),
        next_row=next_row,
        minus_next=difference(lead),
        best_p=0.5 if best else 0.01,
        in_best_set=best,
        other_metrics={},
        train=None,
    )


SIMILARITY = row(3, "similarity", 0.55, RowKind.SIMILARITY, next_row="random", lead=(0.2, 0.001))


def finalist(number: int, values: list[float]) -> FinalistRecord:
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5 if len(values) > 1 else None
    seeds = tuple(
        SeedRecord(name=f"s{v}", seed=i, val_loss=None, checkpoint=None, shots=(v,), mean=v, ranked_by=v)
        for i, v in enumerate(values)
    )
    return FinalistRecord(row=f"trial {number}, {len(values)} fresh seeds", trial=number, seeds=seeds, spread=spread)


def contest(rows: list[RowRecord], finalists: list[FinalistRecord] | None = None) -> Contest:
    return Contest(tuple(rows), tuple(finalists or []), "similarity", "mean accuracy over 1 to 4 shots")


def test_a_clear_winner() -> None:
    rows = [
        row(1, "trial 7", 0.65, gain=(0.1, 0.001), lead=(0.04, 0.01), next_row="trial 3", best=True),
        row(2, "trial 3", 0.61, gain=(0.06, 0.02), next_row="similarity", lead=(0.06, 0.02)),
        SIMILARITY,
    ]
    winner = decide(contest(rows))
    assert (winner.row, winner.trial, winner.step, winner.over_baseline, winner.alone) == ("trial 7", 7, 4, True, True)
    for part in (
        "trial 7 has the highest mean accuracy over 1 to 4 shots of all trials: 65.0 % [62.0, 68.0] on 800 questions.",
        "It is better than the next row, trial 3 (+4.0 points",
        "No other row may be the best one.",
    ):
        assert part in winner.sentence


def test_a_winner_that_cannot_be_told_from_the_others() -> None:
    rows = [
        row(1, "trial 7", 0.56, gain=(0.01, 0.6), lead=(0.002, 0.9), next_row="trial 3", best=True),
        row(2, "trial 3", 0.558, gain=(0.008, 0.7), next_row="similarity", lead=(0.008, 0.9), best=True),
        SIMILARITY.replace(in_best_set=True),
    ]
    winner = decide(contest(rows))
    assert winner.row == "trial 7" and not winner.over_baseline and not winner.alone
    assert "It cannot be distinguished from the next row, trial 3" in winner.sentence
    assert "As good as it, as far as these questions tell: trial 3, similarity." in winner.sentence


def test_a_best_trial_below_the_baseline() -> None:
    rows = [
        SIMILARITY.replace(rank=1, in_best_set=True, next_row="trial 7"),
        row(2, "trial 7", 0.45, gain=(-0.1, 0.001), next_row="random", lead=(0.1, 0.01)),
    ]
    winner = decide(contest(rows))
    assert winner.row == "trial 7" and not winner.over_baseline and not winner.alone
    assert "Ahead of it: similarity." in winner.sentence
    assert "It is not among the best rows, which are similarity." in winner.sentence


def test_equal_rows_are_said_to_be_equal_and_none_is_ahead() -> None:
    rows = [
        SIMILARITY.replace(rank=1, in_best_set=True, next_row="random"),
        row(2, "random", 0.55, RowKind.RANDOM, gain=(0.0, 1.0), best=True),
        row(3, "trial 7", 0.55, gain=(0.0, 1.0), lead=(0.0, 1.0), next_row="trial 3", best=True),
        row(4, "trial 3", 0.55, gain=(0.0, 1.0), best=True),
    ]
    winner = decide(contest(rows))
    assert winner.row == "trial 7" and not winner.alone and not winner.over_baseline
    assert "Exactly as high: similarity, random, trial 3." in winner.sentence
    for wrong in ("Ahead of it", "the next row", "As good as it", "No other row"):
        assert wrong not in winner.sentence


def test_a_row_that_is_ahead_stays_so_beside_an_equal_one() -> None:
    rows = [
        SIMILARITY.replace(rank=1, in_best_set=True, next_row="rce_only"),
        row(2, "rce_only", 0.45, RowKind.RCE_ONLY, gain=(-0.1, 0.001)),
        row(3, "trial 7", 0.45, gain=(-0.1, 0.001)),
    ]
    sentence = decide(contest(rows)).sentence
    assert "Exactly as high: rce_only. Ahead of it: similarity." in sentence


def test_nothing_correct_has_no_highest() -> None:
    rows = [row(rank, f"trial {rank}", 0.0, gain=(0.0, 1.0), best=True) for rank in (1, 2)]
    zero = SIMILARITY.ranked_by.replace(value=0.0) if SIMILARITY.ranked_by else None
    rows.append(SIMILARITY.replace(ranked_by=zero, shots=(zero,), mean=zero))
    winner = decide(contest(rows))
    assert winner.trial == 1 and "highest" not in winner.sentence and "No row has a correct answer" in winner.sentence


def test_a_trial_that_shows_what_a_reference_shows() -> None:
    rows = [
        row(1, "rce_only", 0.6, RowKind.RCE_ONLY, gain=(0.05, 0.01), best=True),
        row(2, "trial 7", 0.6, gain=(0.05, 0.01), best=True, same_as="rce_only"),
        SIMILARITY,
    ]
    winner = decide(contest(rows))
    assert winner.row == "trial 7" and winner.alone, "a copy is no rival"
    assert "It shows exactly the demonstrations of rce_only." in winner.sentence


@pytest.mark.parametrize("rows", [[SIMILARITY], [row(1, "trial 2", 0.9, dropped=100), SIMILARITY]])
def test_no_trial_no_winner(rows: list[RowRecord]) -> None:
    winner = decide(contest(rows))
    assert winner.row is None and winner.trial is None and "No trial was evaluated" in winner.sentence


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        ([], "No trial was evaluated."),
        (
            [("no_op",)],
            "No trial was evaluated: 1 complete trial is labelled no_op: it selects what its reference selects.",
        ),
        (
            [("no_op",), ("kl_dominated", "no_op")],
            "No trial was evaluated: 2 complete trials are labelled no_op: they select what their references select.",
        ),
        (
            [("no_op",), ()],
            "No trial was evaluated: 1 complete trial is labelled no_op: it selects what its "
            "reference selects; the checkpoints of 1 trial are gone or damaged (run.log says which).",
        ),
    ],
)
def test_without_a_trial_the_sentence_says_why(verdicts: list[tuple[str, ...]], sentence: str) -> None:
    found = Contest((SIMILARITY,), (), "similarity", "mean accuracy over 1 to 4 shots", tuple(verdicts))
    assert decide(found).sentence == sentence


def finalists_of(first: list[float], second: list[float]) -> Contest:
    items = [finalist(7, first), finalist(3, second)]
    means = [sum(values) / len(values) for values in (first, second)]
    rows = [
        row(1, items[0].row, means[0], RowKind.FINALIST, gain=(0.08, 0.01), lead=(means[0] - means[1], 0.01),
            next_row=items[1].row, best=True),
        row(2, items[1].row, means[1], RowKind.FINALIST, gain=(0.05, 0.01)),
        SIMILARITY,
        row(4, "trial 1", 0.9, gain=(0.4, 0.001)),
    ]  # fmt: skip
    return contest(rows, items)


def test_fresh_seeds_decide_and_not_the_luckiest_seed_of_the_sweep() -> None:
    winner = decide(finalists_of([0.63, 0.631, 0.629], [0.60, 0.601, 0.599]))
    assert winner.row == "trial 7, 3 fresh seeds" and winner.trial == 7 and winner.step is None
    assert winner.over_baseline and winner.alone
    assert "Between its 3 fresh seeds there is a standard deviation of 0.1 points." in winner.sentence


def test_a_lead_within_the_spread_between_seeds_is_none() -> None:
    winner = decide(finalists_of([0.68, 0.58, 0.63], [0.66, 0.55, 0.59]))
    assert not winner.alone and not winner.over_baseline
    assert "It cannot be distinguished from the next row, trial 3, 3 fresh seeds, given the spread" in winner.sentence
    assert "other seeds could turn that" in winner.sentence


def test_one_fresh_seed_leaves_the_spread_unknown() -> None:
    winner = decide(finalists_of([0.63], [0.60]))
    assert not winner.alone and not winner.over_baseline
    assert "trained again under one fresh seed, so the spread between seeds is unknown" in winner.sentence
