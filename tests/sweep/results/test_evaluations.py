"""Evaluations side by side: their names, the main one, what a repetition changes, and the ledger of looks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.driver.evaluation import evaluate as evaluate_run
from sweep.driver.training import Training
from sweep.errors import RunError
from sweep.evaluation.evaluate import evaluate
from sweep.evaluation.records import Evaluation, SourceRecord, settings_digest
from sweep.evaluation.rows import build_panel
from sweep.report.evaluations import evaluation_lines, other_lines
from sweep.results.evaluation_changes import evaluation_changes
from sweep.results.evaluations import (
    DECLARED,
    Purpose,
    choose_name,
    evaluations,
    main_evaluation,
    main_name,
    make_main,
)
from sweep.results.ledger import HELD_OUT, Look, begin_look, end_look, read_ledger, split_digest
from sweep.runs.paths import RunPaths
from sweep.settings.evaluation import EvaluationSettings, SplitName
from tests.sweep.evaluation.worlds import World, dataset, held_out, score, selector, trial
from tests.sweep.report.test_trials import summary

SETTINGS = EvaluationSettings(shots=2, resamples=1000)
SOURCE = SourceRecord(model="demo", answers={"model": "sha256:1", "prompt": {"system": "Answer."}}, items="f" * 64)


@lru_cache(maxsize=4)
def evaluated(settings: EvaluationSettings = SETTINGS, numbers: tuple[int, ...] = (1, 2)) -> Evaluation:
    policies = [(trial(number, val_loss=1 + number), selector(number)) for number in numbers]
    panel = build_panel(dataset(), held_out(), policies, settings)
    return evaluate(panel, settings, World().ask, score).evaluation.replace(source=SOURCE)


def store(paths: RunPaths, name: str, **changes: Any) -> Evaluation:
    found = evaluated(SETTINGS.replace(**changes) if changes else SETTINGS)
    found.write(paths.evaluation(name).file)
    return found


def name_of(paths: RunPaths, settings: EvaluationSettings, declared: bool = False, **purpose: Any) -> str:
    return choose_name(paths, Purpose(**purpose), settings, SOURCE, declared=declared)


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    return RunPaths.at(tmp_path / "mine")


def test_the_same_settings_have_the_same_name_and_others_never_take_it(paths: RunPaths) -> None:
    other, third = SETTINGS.replace(shots=(2,)), SETTINGS.replace(top=3)
    assert name_of(paths, SETTINGS, declared=True) == DECLARED
    store(paths, DECLARED)
    assert name_of(paths, SETTINGS, base="copy") == DECLARED  # the declared settings, from another file
    assert name_of(paths, SETTINGS.replace(shots=(1, 2)), base="copy") == DECLARED  # the same numbers of shots
    assert name_of(paths, other, base="two shots!") == "two-shots"
    store(paths, "two-shots", shots=(2,))
    assert name_of(paths, other, base="renamed") == "two-shots"
    assert name_of(paths, third, base="two shots!") == "two-shots-2"
    assert name_of(paths, third, base="declared") == "declared-2"
    assert name_of(paths, third, base="...") == "evaluation"
    assert name_of(paths, third, name="mine") == "mine"


@pytest.mark.parametrize("name", ["", ".", "../up", "a/b", "main.json", "x" * 65, "-x", HELD_OUT])
def test_what_cannot_be_a_name_is_refused(paths: RunPaths, name: str) -> None:
    with pytest.raises(RunError, match="cannot be an evaluation's name"):
        name_of(paths, SETTINGS, name=name)


def test_a_chosen_name_of_other_settings_is_refused_with_what_differs(paths: RunPaths) -> None:
    store(paths, "few", shots=(2,))
    with pytest.raises(RunError, match=r"other settings \(evaluation.shots: \[2\] -> \[1, 2\]\)"):
        name_of(paths, SETTINGS, name="few")
    changed = SOURCE.replace(answers={**SOURCE.answers, "prompt": {"system": "Say."}})
    with pytest.raises(RunError, match=r"vlm.prompt.system: Answer. -> Say."):
        choose_name(paths, Purpose(name="few"), SETTINGS.replace(shots=(2,)), changed, declared=False)
    with pytest.raises(RunError, match="the run's own space"):
        name_of(paths, SETTINGS, name=DECLARED)
    assert name_of(paths, SETTINGS.replace(shots=(2,)), name="few") == "few"


def test_the_declared_one_is_the_main_one_until_somebody_says_otherwise(paths: RunPaths) -> None:
    assert main_evaluation(paths) is None
    store(paths, "another", shots=(2,))
    assert main_evaluation(paths) is None and [one.name for one in evaluations(paths)] == ["another"]
    store(paths, DECLARED)
    assert main_evaluation(paths) == paths.evaluation(DECLARED)
    make_main(paths, "another")
    assert main_evaluation(paths) == paths.evaluation("another")
    assert [one.name for one in evaluations(paths)] == ["another", DECLARED]
    paths.evaluation("another").root.remove()
    with pytest.raises(RunError, match="'another', which is gone"):
        main_evaluation(paths)
    paths.main_file.write_text('{"name": "../../elsewhere"}')
    with pytest.raises(RunError, match="damaged"):
        main_name(paths)


def test_a_resumed_run_rests_on_its_main_evaluation_though_its_space_asks_for_none(paths: RunPaths) -> None:
    later = store(paths, "later")
    plan: Any = SimpleNamespace(evaluation=None)
    session: Any = SimpleNamespace(paths=paths)
    for name, expected in ((None, None), ("later", later)):
        if name is not None:
            make_main(paths, name)
        assert evaluate_run(plan, Training([summary(0)], False, ""), session, "resume") == expected
    assert evaluate_run(plan, Training([summary(0)], True, ""), session, "resume") is None


def test_a_damaged_evaluation_keeps_its_name_and_is_shown_as_damaged(paths: RunPaths) -> None:
    store(paths, DECLARED)
    paths.evaluation("broken").file.write_text("{")
    assert name_of(paths, SETTINGS.replace(top=3), base="broken") == "broken-2"
    assert name_of(paths, SETTINGS.replace(top=3), name="broken") == "broken"  # to be made again
    (line,) = other_lines(paths, paths.evaluation(DECLARED))
    assert "broken" in line and "damaged" in line


def test_what_a_repetition_changes_is_named() -> None:
    before = evaluated()
    assert evaluation_changes(before, before) == []
    rows = " / ".join(evaluation_changes(before, evaluated(numbers=(1, 3))))
    assert "rows gone: trial 2" in rows and "rows new: trial 3" in rows
    model = before.replace(source=SOURCE.replace(answers={**SOURCE.answers, "model": "sha256:2"}))
    assert evaluation_changes(before, model) == ["vlm.model: sha256:1 -> sha256:2"]
    row = before.row("trial 1")
    assert row.ranked_by is not None
    better = row.ranked_by.replace(value=row.ranked_by.value + 0.01)
    changed = row.replace(shots=tuple(reversed(row.shots)), ranked_by=better, checkpoint="c1")
    other = before.replace(rows=tuple(changed if one.name == "trial 1" else one for one in before.rows))
    found = evaluation_changes(before, other)
    assert found[0] == "other checkpoints: trial 1" and f"{100 * better.value:.2f} %" in found[1]
    winner = before.replace(winner=before.winner.replace(row="similarity"))
    assert evaluation_changes(before, winner) == [f"winner: {before.winner.row} -> similarity"]


def look(paths: RunPaths, name: str, settings: str = "a", **fields: Any) -> Look:
    values = {
        "command": "evaluate", "evaluation": name, "split": SplitName.TEST, "split_digest": "s",
        "settings_digest": settings, "questions": 40, "rows": {"similarity": None, "trial 1": "c0"},
    }  # fmt: skip
    made = Look.model_validate(values | fields)
    begin_look(paths, made)
    return made


def test_every_look_counts_also_one_that_failed_and_those_of_runs_beside(paths: RunPaths) -> None:
    store(paths, DECLARED)
    for settings in ("a", "a", "b"):
        end_look(paths, look(paths, DECLARED, settings))
    look(paths, DECLARED, "b")  # failed before its end
    lines = evaluation_lines(paths, paths.evaluation(DECLARED))
    expected = "The test split was asked 4 times, with 2 different settings by this run (1 of them not finished)."
    assert lines == [expected]
    assert len(read_ledger(paths.ledger_file)) == 7
    beside = RunPaths(paths.root.parent / "theirs")
    end_look(beside, look(beside, DECLARED, "c"))
    look(beside, DECLARED, "c", split_digest="other questions")
    lines = evaluation_lines(paths, paths.evaluation(DECLARED))
    assert lines[1:] == [
        "Together with 1 other run beside it, the same questions were asked 5 times, with 3 different settings."
    ]


def test_looking_around_on_the_val_split_is_no_look_at_test(paths: RunPaths) -> None:
    store(paths, "around")
    look(paths, "around", split=SplitName.VAL, split_digest="v")
    lines = evaluation_lines(paths, paths.evaluation("around"))
    assert lines[:2] == [
        "The val split was asked once, with 1 setting by this run (1 of them not finished).",
        "The test split was not asked by this run.",
    ]
    assert "rests on the evaluation 'declared', not on this one" in lines[2]


def test_a_damaged_ledger_is_named_and_never_written_over(paths: RunPaths) -> None:
    look(paths, DECLARED)
    content = paths.ledger_file.read_text()
    paths.ledger_file.write_text(content + content[:50])
    for _ in range(2):
        with pytest.raises(RunError, match="line 2 is damaged"):
            look(paths, DECLARED)
    assert paths.ledger_file.read_text() == content + content[:50]


def test_digests_know_questions_and_settings_and_nothing_else() -> None:
    digest = split_digest(dataset(), SplitName.TEST, "items")
    assert (
        digest != split_digest(dataset(), SplitName.VAL, "items") != split_digest(dataset(), SplitName.TEST, "others")
    )
    renamed = SOURCE.replace(model="elsewhere/demo")
    assert settings_digest(SETTINGS, SOURCE) == settings_digest(SETTINGS.replace(shots=(1, 2)), renamed)
    for other in (SETTINGS.replace(split=SplitName.VAL), SETTINGS.replace(seed=1), SETTINGS.replace(shots=1)):
        assert settings_digest(other, SOURCE) != settings_digest(SETTINGS, SOURCE)
