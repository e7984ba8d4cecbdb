"""What a person sees: complete, and where the terminal is narrow, told what it does not see."""

from __future__ import annotations

import io
import re
from functools import lru_cache

import pytest
from rich.console import Console

from sweep.evaluation.analysis import correlate
from sweep.evaluation.evaluate import evaluate
from sweep.evaluation.questions import choose_questions
from sweep.evaluation.records import Evaluation
from sweep.evaluation.rows import Row, RowKind, build_panel
from sweep.report.evaluation import caveats, correlation_line, render
from sweep.settings.evaluation import EvaluationSettings, RacingSettings, SplitName
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


@pytest.mark.parametrize("width", range(44, 100, 4))
def test_a_narrow_terminal_keeps_the_p_values_and_says_what_it_leaves_out(width: int) -> None:
    text = text_of(full(), width)
    main = text.split("\n\n")[0]
    header = next(line for line in main.splitlines() if line.startswith("row "))
    ranked = [(row.mean, row.minus_baseline) for row in full().rows]
    lines = [line for line in main.splitlines()[main.splitlines().index(header) :] if "±" in line]
    assert len(lines) == len(ranked) and "…" not in main
    for line, (mean, difference) in zip(lines, ranked, strict=True):
        assert mean is not None and f"{100 * mean.value:.1f} ±" in line
        assert difference is None or f" {difference.p_holm:.3f}" in line
    told = " ".join(main.split("Left out at ")[1].split())
    assert told.startswith(f"{width} columns: ")
    assert ("answer" in header) != ("prompts without an answer" in told)
    assert ("1-shot" in header) != (", accuracies that do not rank" in f", {told.split(': ')[1]}")
    assert (lines[1].count("±") == 5) != ("accuracies that do not rank" in told)
    assert all(len(line) <= width for line in text.splitlines())


def test_a_table_that_fits_nowhere_says_where_it_is() -> None:
    main = " ".join(text_of(full(), 36).split("\n\n")[0].split())
    assert "Left out at 36 columns: this table, which needs" in main and main.endswith("It is in evaluation.json.")


@pytest.mark.parametrize("width", [100, 80, 60, 50])
def test_differences_per_shot_keep_their_sign_and_word(width: int) -> None:
    settings = EvaluationSettings(shots=1, resamples=1000, no_demonstrations=False)
    coins = Coins({"similarity": 0.5, "trial 1": 0.95}, 200, 0)
    panel = coins.panel({"similarity": RowKind.SIMILARITY})
    text = text_of(evaluate(panel, settings, coins.ask, lambda _, text, __: text == "right").evaluation, width)
    by_shot = text.split("Difference to similarity")[1].split("\n\n")[0]
    assert re.search(r"trial 1 +\+\d+\.\d .*better", by_shot)


def test_one_is_singular() -> None:
    settings = EvaluationSettings(shots=1, resamples=1000, no_demonstrations=False)
    coins = Coins({"similarity": 0.5}, 30, 0)
    panel = coins.panel({"similarity": RowKind.SIMILARITY})
    alone = evaluate(panel, settings, coins.ask, score, verdicts=[("no_op",)]).evaluation
    assert "from 0 rows: it takes at least 3" in correlation_line(alone)
    assert "1 complete trial is labelled no_op" in text_of(alone, 160)
    first = full().rows[-1].model_copy(update={"val_loss": 1.0})
    found, note = correlate([first], settings)
    assert found is None and "from 1 row: " in note


def test_nothing_that_was_left_out_is_hidden() -> None:
    said = "\n".join(caveats(full()))
    failed = sum(full().failures.values())
    assert failed > 0 and f"{failed} of {full().work_items} prompts have no answer ({failed} image)" in said
    assert next(iter(full().failure_labels)) in said
    assert full().excluded == 1 and "1 candidate was left out" in said
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
