"""What a person sees of an evaluation: complete, within 80 columns, and nothing cut where there are fewer."""

from __future__ import annotations

import io
import re
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from sweep.evaluation.analysis import correlate
from sweep.evaluation.audit import audit
from sweep.evaluation.evaluate import evaluate
from sweep.evaluation.questions import choose_questions
from sweep.evaluation.records import Estimate, Evaluation
from sweep.evaluation.rows import PolicyRow, RowKind, build_panel
from sweep.report.evaluation import caveats, correlation_line, render
from sweep.results.verdict import verdict_by_answers
from sweep.settings.evaluation import EvaluationSettings, RacingSettings, SplitName
from sweep.terminal.console import Screen
from tests.sweep.evaluation.worlds import Coins, World, dataset, held_out, score, selector, trial


@lru_cache(maxsize=1)
def full() -> Evaluation:
    """With everything: train rows, finalists, failures, excluded candidates, small pools, copies."""
    images = [f"image {item}" for item in range(len(dataset().embeddings))]
    images[held_out().pools_QK[0, 0]] = images[held_out().items_Q[0]]
    questions = choose_questions(dataset(), SplitName.TEST, None, 0, images)
    train = choose_questions(dataset(), SplitName.TRAIN, 15, 0)
    questions.pools_QK[2, 2:] = -1
    settings = EvaluationSettings(shots=4, resamples=1000, failure_limit=0.5)
    policies = [(trial(number, val_loss=1 + number / 7), selector(min(number, 13))) for number in (11, 12, 13, 14)]
    policies += [
        (PolicyRow(f"trial 12 seed {seed}", RowKind.FINALIST_SEED, trial=12, seed=seed), selector(seed))
        for seed in (101, 102)
    ]
    bad = frozenset([int(questions.items_Q[1])])
    made = evaluate(
        build_panel(dataset(), questions, policies, settings),
        settings,
        World(broken=bad).ask,
        score,
        build_panel(dataset(), train, policies, settings),
    ).evaluation
    metrics = {name: np.linspace(1, 2, 12) ** power for power, name in enumerate(("listwise_calibrated", "rce"), 1)}
    return made.replace(audit=audit(metrics, np.linspace(0.1, 0.5, 12), list(range(12)), "rce", 0))


def text_of(evaluation: Evaluation, width: int) -> str:
    console = Screen(file=io.StringIO(), width=width)
    console.print(render(evaluation))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def numbers(text: str) -> Counter[str]:
    return Counter(re.findall(r"[-+]?\d+\.\d+", text))


def test_all_numbers_stand_within_80_columns() -> None:
    text = text_of(full(), 80)
    assert "…" not in text and max(len(line.rstrip()) for line in text.splitlines()) <= 80
    accuracy, by_shot, *_ = text.split("\n\n")
    for row in full().rows:
        (line,) = [line for line in accuracy.splitlines() if line.startswith(f"{row.name} ") and "[" in line]
        assert row.ranked_by is not None and whole(row.ranked_by, "") in line
        if row.minus_baseline is not None:
            assert whole(row.minus_baseline, "+") in line
            assert f"{row.minus_baseline.p_holm:.3f}" in line or "<0.001" in line
        assert (" * " in line) == row.in_best_set
        if row.kind is not RowKind.NO_DEMONSTRATIONS:
            (line,) = [line for line in by_shot.splitlines() if line.startswith(f"{row.name} ")]
            values = [f"{100 * estimate.value:.1f}" for estimate in row.shots if estimate is not None]
            assert re.findall(r"(\d+\.\d) ±", line) == values and len(values) == 4


def whole(estimate: Estimate, sign: str) -> str:
    ends = (estimate.value, estimate.low, estimate.high)
    value, low, high = (f"{round(100 * one, 1) + 0.0:{sign}.1f}" for one in ends)
    return f"{value} [{low}, {high}]"


@pytest.mark.parametrize("width", [60, 100, 160])
def test_no_number_is_lost_at_another_width(width: int) -> None:
    text = text_of(full(), width)
    assert numbers(text) == numbers(text_of(full(), 80))
    assert "…" not in text and max(len(line.rstrip()) for line in text.splitlines()) <= width


def test_many_numbers_of_shots_make_more_tables_not_wider_ones() -> None:
    settings = EvaluationSettings(shots=9, resamples=1000)
    questions = choose_questions(dataset(), SplitName.TEST, 20, 0)
    panel = build_panel(dataset(), questions, [(trial(11), selector(11))], settings)
    text = text_of(evaluate(panel, settings, World().ask, score).evaluation, 80)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert [len(re.findall(rf" {shots}-shot", text)) for shots in (1, 5, 9)] == [2, 2, 2], "accuracies and differences"


def test_one_is_singular() -> None:
    settings = EvaluationSettings(shots=1, resamples=1000, no_demonstrations=False)
    coins = Coins({"similarity": 0.5}, 30, 0)
    panel = coins.panel({"similarity": RowKind.SIMILARITY})
    alone = evaluate(panel, settings, coins.ask, score, verdicts=[("no_op",)]).evaluation
    assert "from 0 rows: it takes at least 3" in correlation_line(alone)
    assert "1 complete trial is labelled no_op" in verdict_by_answers(alone).details[0]
    first = full().rows[-1].replace(val_loss=1.0)
    found, note = correlate([first], settings)
    assert found is None and "from 1 row: " in note


def test_nothing_that_was_left_out_is_hidden() -> None:
    said = "\n".join(caveats(full()))
    failed = sum(full().failures.values())
    assert failed > 0 and f"{failed} of {full().work_items} prompts have no answer ({failed} image)" in said
    assert next(iter(full().failure_labels)) in said
    assert all(f"{row.name} ({row.failures})" in said for row in full().rows if row.failures)
    assert full().excluded == 1 and "1 candidate was left out" in said
    assert "1 at 3 shots, 1 at 4 shots" in said
    text = text_of(full(), 160)
    for part in (
        "(= trial 13)",
        "no demonstrations",
        "each seed",
        "train minus held-out",
        "Spearman",
        "Holm",
        "ranks the trials",
    ):
        assert part in text
    assert full().winner.sentence not in text, "the verdict says that"


@pytest.mark.parametrize("rank_by", [2, "mean"])
def test_the_train_tables_gap_is_that_of_its_columns(rank_by: int | str) -> None:
    questions = choose_questions(dataset(), SplitName.TEST, 20, 0)
    train = choose_questions(dataset(), SplitName.TRAIN, 15, 0)
    settings = EvaluationSettings(shots=2, resamples=1000, rank_by=rank_by)
    panels = [build_panel(dataset(), asked, [(trial(11), selector(11))], settings) for asked in (questions, train)]
    text = text_of(evaluate(panels[0], settings, World().ask, score, panels[1]).evaluation, 160)
    block = next(part for part in text.split("\n\n") if part.startswith("Train split"))
    assert f"{settings.measure} in %" in block
    lines = [re.findall(r"[-+]?\d+\.\d(?= [±\[])", line) for line in block.splitlines()]
    values = [[float(number) for number in line] for line in lines if len(line) == 3]
    assert len(values) == 4
    assert any(there != here for there, here, _ in values)
    for there, here, gap in values:
        assert gap == pytest.approx(there - here, abs=0.11)  # all three are rounded to 0.1


def test_signs_per_shot_say_what_is_sure() -> None:
    rates = {"similarity": 0.7, "trial 1": 0.95, "trial 2": 0.1, "trial 3": 0.7}
    settings = EvaluationSettings(
        shots=1, resamples=1000, no_demonstrations=False, racing=RacingSettings(start=50, growth=4)
    )
    coins = Coins(rates, 200, 0)
    panel = coins.panel({"similarity": RowKind.SIMILARITY})
    evaluation = evaluate(panel, settings, coins.ask, lambda _, text, __: text == "right").evaluation
    text = text_of(evaluation, 80)
    by_shot = text.split("Difference to similarity in points")[1].split("\n\n")[0]
    assert re.search(r"trial 1 +\+\S+ ±\S+ ▲", by_shot)
    assert re.search(r"trial 2 +-\S+ ±\S+ ▼", by_shot)
    assert not re.search(r"trial 3.*[▲▼]", by_shot)
    assert "Dropped after 50 questions: trial 2, trial 3." in text or "Dropped after 50 questions: trial 2." in text
    assert re.search(r"trial 1 +\*", text) or "trial 1 *" in text
    assert "no rank correlation" in correlation_line(evaluation)
