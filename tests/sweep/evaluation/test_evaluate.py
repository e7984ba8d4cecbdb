"""From selections to the record: merged, answered once, complete, and the same every time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sweep.errors import RunError
from sweep.evaluation.answer_table import write_answers
from sweep.evaluation.evaluate import Evaluated, evaluate
from sweep.evaluation.questions import choose_questions
from sweep.evaluation.records import RowRecord, read_evaluation
from sweep.evaluation.rows import Panel, PolicyRow, RowKind, build_panel
from sweep.results.verdict import verdict_by_answers
from sweep.settings.evaluation import EvaluationSettings, RacingSettings, SplitName
from sweep.storage.local import stored_at
from sweep.vlm.work import FailureKind
from sweep.vqa.accuracy import AnswerNormalisation
from tests.sweep.evaluation.worlds import Coins, World, dataset, held_out, score, selector, trial

SETTINGS = EvaluationSettings(shots=3, resamples=1000, random_draws=2)


def panel_of(numbers: Iterable[int], settings: EvaluationSettings = SETTINGS) -> Panel:
    policies = ((trial(number, val_loss=1 + number / 10), selector(number)) for number in numbers)
    return build_panel(dataset(), held_out(), policies, settings)


def run(panel: Panel, settings: EvaluationSettings = SETTINGS, world: World | None = None) -> Evaluated:
    return evaluate(panel, settings, (world or World()).ask, score)


def test_accuracies_are_those_of_the_answers() -> None:
    found = run(panel_of([1, 2]))
    for name, draws in (("trial 1", 1), ("random", 2), ("no demonstrations", 1)):
        row = found.evaluation.row(name)
        answers = [answer for answer in found.answers if answer.row == name]
        assert len(answers) == len(held_out()) * 3 * draws
        for index, estimate in enumerate(row.shots):
            values = [answer.accuracy for answer in answers if answer.shots == index + 1]
            assert estimate is not None and estimate.value == pytest.approx(np.mean(values))
            assert estimate.low < estimate.value < estimate.high
            assert estimate.questions == len(held_out())
        assert row.mean is not None and row.mean.value == pytest.approx(np.mean([a.accuracy for a in answers]))
        assert row.other_metrics[AnswerNormalisation.ALWAYS][-1] == pytest.approx(row.mean.value / 2)
        assert row.asked == len(held_out()) and row.failures == 0 and row.short_pools == (0, 0, 0)
    ranked = [row.mean.value for row in found.evaluation.rows if row.mean is not None]
    assert ranked == sorted(ranked, reverse=True)
    assert [row.rank for row in found.evaluation.rows] == list(range(1, 6))


def test_each_work_item_is_asked_once() -> None:
    world = World()
    found = run(panel_of([1, 2]), world=world)
    assert len(world.calls) == 1 and len(set(world.calls[0])) == len(world.calls[0]) == found.evaluation.work_items
    assert found.evaluation.stages[0].prompts == len(held_out()) * 3 * 6 > found.evaluation.work_items
    assert len([item for item in world.calls[0] if not item.demonstrations]) == len(held_out())


def independent_of_the_table(row: RowRecord) -> dict[str, object]:
    """What must not depend on which other rows there are: all but ranks, corrections and neighbours."""
    values = row.model_dump(exclude={"rank", "next_row", "minus_next", "best_p", "in_best_set"})
    for difference in (values["minus_baseline"], *values["minus_baseline_by_shot"]):
        if difference is not None:
            del difference["p_holm"], difference["joint"]
    return values


def test_deleting_a_trial_changes_no_other_row() -> None:
    full, less = run(panel_of([1, 2, 3])), run(panel_of([1, 3]))
    assert len(less.evaluation.rows) == len(full.evaluation.rows) - 1
    for row in less.evaluation.rows:
        assert independent_of_the_table(row) == independent_of_the_table(full.evaluation.row(row.name))


def test_the_same_answers_give_the_same_record_and_it_survives_json(tmp_path: Path) -> None:
    world = World(broken=frozenset(held_out().pools_QK[0, :2].tolist()))
    settings = SETTINGS.replace(failure_limit=1.0, racing=RacingSettings(start=20))
    first, second = run(panel_of([1, 2]), settings, world), run(panel_of([1, 2]), settings, world)
    assert first == second
    file = tmp_path / "evaluation" / "evaluation.json"
    first.evaluation.write(stored_at(file))
    assert read_evaluation(stored_at(file)) == first.evaluation
    assert "NaN" not in file.read_text(encoding="utf-8")


def test_a_record_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="missing"):
        read_evaluation(stored_at(tmp_path / "evaluation.json"))
    (tmp_path / "evaluation.json").write_text('{"format": "sweep-evaluation/1"}', encoding="utf-8")
    with pytest.raises(RunError, match="damaged"):
        read_evaluation(stored_at(tmp_path / "evaluation.json"))


def test_rows_that_show_the_same_are_named() -> None:
    policies = [(trial(1), selector(1)), (trial(2), selector(1))]
    evaluation = run(build_panel(dataset(), held_out(), policies, SETTINGS)).evaluation
    assert evaluation.row("trial 2").same_as == "trial 1" and evaluation.row("trial 1").same_as is None
    assert evaluation.row("trial 2").best_p == evaluation.row("trial 1").best_p


# Failures -----------------------------------------------------------------------------------------------------------


def test_failures_are_missing_values_and_are_counted() -> None:
    bad = int(held_out().items_Q[3])
    shown = int(panel_of([1]).selections[3].picks_DQS[0, 0, 1])
    settings = SETTINGS.replace(failure_limit=1.0)
    found = run(panel_of([1]), settings, World(broken=frozenset({bad, shown})))
    evaluation, row = found.evaluation, found.evaluation.row("trial 1")
    assert evaluation.failures[FailureKind.IMAGE] == sum(
        1 for _ in {(a.item, a.demonstrations) for a in found.answers if a.failure == "image"}
    )
    assert set(evaluation.failure_labels) == {f"images/{item}.jpg" for item in (bad, shown)}
    failed = [answer for answer in found.answers if answer.row == "trial 1" and answer.failure is not None]
    assert row.failures == len(failed) >= 3 + 2
    assert all(answer.text is None and answer.accuracy is None and answer.reason for answer in failed)
    for index, estimate in enumerate(row.shots):
        lost = {answer.item for answer in failed if answer.shots == index + 1}
        assert estimate is not None and estimate.questions == len(held_out()) - len(lost)
    assert row.minus_baseline is not None and row.minus_baseline.questions <= len(held_out()) - 2


def test_a_draw_without_an_answer_leaves_the_mean_to_the_others() -> None:
    first, second = panel_of([]).selections[1].picks_DQS[:, 0, 0]
    assert first != second
    settings = SETTINGS.replace(failure_limit=1.0, shots=1)
    found = run(panel_of([], settings), settings, World(broken=frozenset({int(first)})))
    random = found.evaluation.row("random")
    assert random.shots[0] is not None and random.shots[0].questions == len(held_out())
    assert random.failures >= 1


def test_too_many_failures_stop_the_evaluation_with_the_reason() -> None:
    bad = frozenset(held_out().items_Q[:4].tolist())
    with pytest.raises(
        RunError, match=r"prompts have no answer \(\d+ image\), which is more than .* limit of 0\.05 .*\.jpg"
    ):
        run(panel_of([1]), world=World(broken=bad))


def test_a_row_without_any_answer_has_no_numbers_and_is_last() -> None:
    settings = EvaluationSettings(shots=1, resamples=1000, failure_limit=1.0, no_demonstrations=False)
    panel = panel_of([1], settings)
    similar = frozenset(panel.selections[1].picks_DQS.ravel().tolist())
    evaluation = run(panel, settings, World(broken=similar)).evaluation
    row = evaluation.row("similarity")
    assert row.mean is None and row.best_p is None and row.rank == 3 and row.shots == (None,)
    assert evaluation.row("trial 1").minus_baseline is None
    assert "cannot be compared with similarity" in verdict_by_answers(evaluation).sentence


# Racing and more ----------------------------------------------------------------------------------------------------


def test_racing_asks_in_stages_and_spares_what_was_dropped() -> None:
    settings = EvaluationSettings(
        shots=1, resamples=1000, no_demonstrations=False, racing=RacingSettings(start=50, growth=2)
    )
    rates = {"similarity": 0.1, "random": 0.05, "trial 1": 0.8, "trial 2": 0.75, "trial 3": 0.1}
    coins = Coins(rates, 200, 0)
    calls: list[int] = []

    def ask(items):
        calls.append(len(items))
        return coins.ask(items)

    kinds = {"similarity": RowKind.SIMILARITY, "random": RowKind.RANDOM}
    found = evaluate(coins.panel(kinds), settings, ask, lambda _, text, __: text == "right")
    evaluation = found.evaluation
    assert [stage.questions for stage in evaluation.stages] == [50, 100, 200]
    assert evaluation.stages[0].dropped == ("trial 3",) and calls == [250, 200, 400]
    assert [stage.asked for stage in evaluation.stages] == calls
    dropped = evaluation.row("trial 3")
    assert dropped.asked == dropped.dropped_after == 50 and dropped.rank == 5 and not dropped.in_best_set
    assert dropped.minus_baseline is not None and dropped.minus_baseline.questions == 50
    assert len([answer for answer in found.answers if answer.row == "trial 3"]) == 50
    assert all(evaluation.row(name).asked == 200 for name in ("similarity", "random")), "references never race"
    assert evaluation.winner.row == "trial 1"
    assert any("loses the best trial with probability at most 1 %" in note for note in evaluation.notes)


def test_train_rows_stand_beside() -> None:
    train = choose_questions(dataset(), SplitName.TRAIN, 20, 0)
    policies = [(trial(1), selector(1))]
    train_panel = build_panel(dataset(), train, policies, SETTINGS)
    world = World()
    found = evaluate(panel_of([1]), SETTINGS, world.ask, score, train_panel)
    assert len(world.calls) == 1
    row = found.evaluation.row("trial 1")
    assert row.train is not None and row.train.mean is not None and row.train.gap is not None and row.mean is not None
    assert row.train.mean.questions == 20
    assert row.train.gap.value == pytest.approx(row.train.mean.value - row.mean.value)
    assert row.train.gap.low < row.train.gap.value < row.train.gap.high
    alone = run(panel_of([1])).evaluation.row("trial 1")
    assert alone.model_dump(exclude={"train"}) == row.model_dump(exclude={"train"})
    assert {answer.split for answer in found.answers} == {"train", "test"}


def test_finalists_are_the_mean_over_their_seeds() -> None:
    policies = [(trial(number, val_loss=1.0), selector(number)) for number in (1, 2)]
    policies += [
        (
            PolicyRow(f"trial {number} seed {seed}", RowKind.FINALIST_SEED, trial=number, seed=seed),
            selector(10 * number + seed),
        )
        for number in (1, 2)
        for seed in (7, 8, 9)
    ]
    evaluation = run(build_panel(dataset(), held_out(), policies, SETTINGS)).evaluation
    assert [finalist.trial for finalist in evaluation.finalists] == [1, 2]
    for finalist in evaluation.finalists:
        values = [seed.ranked_by for seed in finalist.seeds if seed.ranked_by is not None]
        row = evaluation.row(finalist.row)
        assert row.kind is RowKind.FINALIST and row.ranked_by is not None and len(values) == 3
        assert row.ranked_by.value == pytest.approx(np.mean(values))
        assert finalist.spread == pytest.approx(np.std(values, ddof=1))
    assert not any("seed 7" in row.name for row in evaluation.rows)
    assert evaluation.winner.row in {finalist.row for finalist in evaluation.finalists}
    places = {row.name: row.rank for row in evaluation.rows}
    assert min(places["trial 1"], places["trial 2"]) > max(places[item.row] for item in evaluation.finalists)
    assert evaluation.row("trial 1").best_p is None, "a seed of the sweep is no candidate any more"


def test_correlation_of_validation_loss_and_accuracy() -> None:
    settings = EvaluationSettings(shots=1, resamples=1000, no_demonstrations=False)
    rates = {"similarity": 0.3, **{f"trial {number}": 0.9 - number / 10 for number in range(5)}}
    coins = Coins(rates, 400, 1, own=0.05)
    panel = coins.panel({"similarity": RowKind.SIMILARITY})
    losses = [None, 1.0, 1.1, 1.2, 1.3, 1.4]
    rows = tuple(
        replace(item, row=replace(item.row, val_loss=loss)) for item, loss in zip(panel.selections, losses, strict=True)
    )
    evaluation = evaluate(
        Panel(panel.questions, rows), settings, coins.ask, lambda _, text, __: text == "right"
    ).evaluation
    assert evaluation.correlation is not None and evaluation.correlation.rho == -1
    assert evaluation.correlation.rows == 5 and evaluation.correlation.p == pytest.approx(2 / 120)
    assert "5 rows of 5 trials" in evaluation.correlation_note
    few = evaluate(
        Panel(panel.questions, rows[:3]), settings, Coins(rates, 400, 1).ask, lambda _, text, __: text == "right"
    ).evaluation
    assert few.correlation is None and "at least 3 rows" in few.correlation_note


def test_mistakes_of_the_caller_are_said() -> None:
    panel = panel_of([1])
    with pytest.raises(RunError, match="two rows have one name: trial 1"):
        run(Panel(panel.questions, (*panel.selections, panel.selections[-1])))
    with pytest.raises(RunError, match="the baseline rce_only is none of the rows"):
        run(panel, EvaluationSettings(shots=3, baseline="rce_only"))
    with pytest.raises(RunError, match="train split"):
        evaluate(panel, SETTINGS, World().ask, score, panel_of([2]))


def test_the_table_of_answers_is_parquet(tmp_path: Path) -> None:
    found = run(panel_of([1]))
    write_answers(stored_at(tmp_path / "evaluation" / "answers.parquet"), found.answers)
    rows = pq.read_table(tmp_path / "evaluation" / "answers.parquet").to_pylist()
    assert len(rows) == len(found.answers)
    assert rows[-1]["demonstrations"] == list(found.answers[-1].demonstrations)
    assert {row["row"] for row in rows} == {row.name for row in found.evaluation.rows}
    assert [path.name for path in (tmp_path / "evaluation").iterdir()] == ["answers.parquet"]
