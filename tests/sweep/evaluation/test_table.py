"""What a person sees: complete, and readable from 100 columns on."""

from __future__ import annotations

import io
import re
from functools import lru_cache

import pytest
from rich.console import Console

from sweep.evaluation.evaluate import evaluate
from sweep.evaluation.questions import choose_questions
from sweep.evaluation.records import Evaluation
from sweep.evaluation.rows import Row, RowKind, build_panel
from sweep.evaluation.settings import EvaluationSettings, RacingSettings, SplitName
from sweep.evaluation.table import caveats, correlation_line, render
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
        (Row(f"trial 12 seed {seed}", RowKind.FINALIST_SEED, trial=12, seed=seed), selector(seed))
        for seed in (101, 102)
    ]
    bad = frozenset([int(questions.items_Q[1])])
    return evaluate(
        build_panel(dataset(), questions, policies, settings),
        settings,
        World(broken=bad).ask,
        score,
        build_panel(dataset(), train, policies, settings),
    ).evaluation


def text_of(evaluation: Evaluation, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render(evaluation, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [100, 120, 160])
def test_every_number_is_whole_at_every_width(width: int) -> None:
    text = text_of(full(), width)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    main = text.split("\n\n")[0].splitlines()
    lines = [line for line in main if re.search(r"\d\.\d", line)]
    assert len(lines) == len(full().rows)
    for row, line in zip(full().rows, lines, strict=True):
        assert row.mean is not None and line.startswith(row.name[:12].rstrip(" ,"))
        assert f"{100 * row.mean.value:.1f}" in line
        if row.kind is not RowKind.NO_DEMONSTRATIONS:
            values = [estimate.value for estimate in row.shots if estimate is not None]
            assert [f"{100 * value:.1f}" in line for value in values] == [True] * 4
        if row.minus_baseline is not None:
            assert f"{row.minus_baseline.p_holm:.3f}" in line or "below 0.001" in line


def test_wide_terminals_show_whole_intervals_and_narrow_ones_half_widths() -> None:
    mean = full().rows[0].mean
    assert mean is not None
    assert f"{100 * mean.value:.1f} [{100 * mean.low:.1f}, {100 * mean.high:.1f}]" in text_of(full(), 160)
    main = text_of(full(), 100).split("\n\n")[0]
    assert "±" in main and not re.search(r"\d \[", main)


def test_nothing_that_was_left_out_is_hidden() -> None:
    said = "\n".join(caveats(full()))
    failed = sum(full().failures.values())
    assert failed > 0 and f"{failed} of {full().work_items} prompts have no answer ({failed} image)" in said
    assert next(iter(full().failure_labels)) in said
    assert full().excluded == 1 and "1 candidates were left out" in said
    assert "1 at 3 shots, 1 at 4 shots" in said
    text = text_of(full(), 160)
    for part in ("(= trial 13)", "no demonstrations", "sd between seeds", "train minus held-out", "Spearman", "Holm"):
        assert part in text
    assert full().winner.sentence.split(":")[0] in text


@pytest.mark.parametrize("rank_by", [2, "mean"])
def test_the_train_tables_gap_is_that_of_its_columns(rank_by: int | str) -> None:
    questions = choose_questions(dataset(), SplitName.TEST, 20, 0)
    train = choose_questions(dataset(), SplitName.TRAIN, 15, 0)
    settings = EvaluationSettings(shots=2, resamples=1000, rank_by=rank_by)
    panels = [build_panel(dataset(), asked, [(trial(11), selector(11))], settings) for asked in (questions, train)]
    text = text_of(evaluate(panels[0], settings, World().ask, score, panels[1]).evaluation, 160)
    block = next(part for part in text.split("\n\n") if part.startswith("Train split"))
    assert f"{settings.measure} in %" in block
    lines = [re.findall(r"[-+]?\d+\.\d(?= \[)", line) for line in block.splitlines()]
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
    text = text_of(evaluation, 100)
    by_shot = text.split("Difference to similarity in points")[1].split("\n\n")[0]
    assert re.search(r"trial 1 +\+\S+ \S+.* better", by_shot)
    assert re.search(r"trial 2 +-\S+ \S+.* worse", by_shot)
    assert not re.search(r"trial 3.*(better|worse)", by_shot)
    assert "Dropped after 50 questions: trial 2, trial 3." in text or "Dropped after 50 questions: trial 2." in text
    assert re.search(r"trial 2 .* 50\b", text), "questions seen"
    assert re.search(r"trial 1 .*\*", text) or "trial 1 *" in text
    assert "no rank correlation" in correlation_line(evaluation)
