"""The verdict: what a run has shown, and no more."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from selector.errors import UserError
from selector.health import Verdict
from sweep.evaluation.power import questions_to_tell
from sweep.evaluation.records import Difference, Evaluation, RowRecord
from sweep.evaluation.winner import Contest, decide
from sweep.report.verdict import print_export_command, print_verdict
from sweep.results.held_out import HeldOutRow
from sweep.results.run_verdict import RunVerdict, VerdictKind, verdict_of_run
from sweep.results.verdict import conclude
from sweep.runs.paths import RunPaths
from sweep.settings.evaluation import EvaluationSettings, SplitName
from sweep.study import Standing
from sweep.study.ranking import rank
from sweep.terminal.console import Screen
from tests.sweep.evaluation.test_winner import SIMILARITY, contest, finalists_of, row
from tests.sweep.report.test_trials import summary

TRIALS = rank([summary(number) for number in (7, 3)])  # 3 is first by val_loss


def difference(value: float, p: float, half: float = 0.02, error: float | None = 0.01) -> Difference:
    joint, low, high = (value - half, value + half), value - half / 2, value + half / 2
    return Difference(value=value, low=low, high=high, questions=800, p=p / 2, p_holm=p, joint=joint, error=error)


def evaluation_of(rows: list[RowRecord], found: Contest | None = None, **settings: object) -> Evaluation:
    """An evaluation whose table is these rows."""
    found = found or contest(rows)
    names = {one.name for one in found.records}
    here = tuple(one if one.next_row in names else one.replace(next_row=None, minus_next=None) for one in found.records)
    found = replace(found, records=here)
    return Evaluation(
        settings=EvaluationSettings.model_validate({"shots": 1, **settings}), shots=(1,), questions=800, images=800,
        excluded=0, work_items=0, failures={}, failure_labels={}, stages=(), rows=found.records,
        finalists=found.finalists, correlation=None, correlation_note="", winner=decide(found), notes=(),
    )  # fmt: skip


def against(gain: Difference | None, same_as: str | None = None) -> Evaluation:
    """Trial 7 and similarity, with this difference."""
    value = 0.0 if gain is None else gain.value
    first, second = (1, 2) if value >= 0 else (2, 1)
    own = row(first, "trial 7", 0.55 + value, best=True, same_as=same_as).replace(minus_baseline=gain)
    return evaluation_of(sorted([own, SIMILARITY.replace(rank=second)], key=lambda one: one.rank))


def text_of(verdict: RunVerdict, width: int = 80) -> str:
    console = Screen(file=io.StringIO(), width=width)
    print_verdict(console, verdict)
    print_export_command(console, verdict, RunPaths.at(Path("/runs/mine")), 3)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# By answers -----------------------------------------------------------------------------------------------------------


def test_a_trial_that_beats_the_baseline() -> None:
    found = conclude(TRIALS, against(difference(0.1, 0.001)), None)
    assert found.kind is VerdictKind.BEATS_BASELINE and found.is_worth_taking and found.trial == 7
    assert found.sentence == (
        "trial 7 beats similarity: +10.0 points [+8.0, +12.0], corrected p 0.001, on 800 questions"
    ), "the joint interval: the trial was picked"
    assert "take trial 7 home" in text_of(found)


@pytest.mark.parametrize(
    ("gain", "kind", "sentence"),
    [
        (
            difference(-0.003, 0.4, 0.006),
            VerdictKind.NOT_DISTINGUISHED,
            "no trial beats similarity (best: trial 7, -0.3 points [-0.9, +0.3], corrected p 0.400, on 800 questions)",
        ),
        (
            difference(0.003, 0.4, 0.006),
            VerdictKind.NOT_DISTINGUISHED,
            "no trial surely beats similarity (best: trial 7, +0.3 points [-0.3, +0.9], corrected p 0.400, on 800 "
            "questions)",
        ),
        (
            difference(-0.1, 0.001),
            VerdictKind.WORSE_THAN_BASELINE,
            "no trial beats similarity: the best, trial 7, is worse (-10.0 points [-12.0, -8.0], corrected p 0.001, "
            "on 800 questions)",
        ),
        (
            difference(0.0, 1.0, error=0.0),
            VerdictKind.EQUAL_TO_BASELINE,
            "no trial beats similarity: the best, trial 7, does exactly as well on each of 800 questions",
        ),
    ],
)
def test_no_trial_beats_the_baseline(gain: Difference, kind: VerdictKind, sentence: str) -> None:
    found = conclude(TRIALS, against(gain), None)
    assert (found.kind, found.sentence) == (kind, sentence)
    assert not found.is_worth_taking and found.next_steps and found.difference == gain
    text = text_of(found)
    assert "to export trial 7 all the same:" in text and "--trial 7" in text and "home" not in text


def test_a_trial_that_shows_what_the_baseline_shows() -> None:
    found = conclude(TRIALS, against(difference(0.0, 1.0), same_as="similarity"), None)
    assert found.kind is VerdictKind.EQUAL_TO_BASELINE and "shows exactly its demonstrations" in found.sentence


def test_the_spread_between_seeds_counts() -> None:
    seeds = finalists_of([0.68, 0.58, 0.63], [0.66, 0.55, 0.59])
    found = conclude(TRIALS, evaluation_of([], seeds), None)
    assert found.kind is VerdictKind.NOT_DISTINGUISHED and "given the spread between seeds" in found.sentence
    sure = finalists_of([0.63, 0.631, 0.629], [0.60, 0.601, 0.599])
    found = conclude(TRIALS, evaluation_of([], sure), None)
    assert found.kind is VerdictKind.BEATS_BASELINE and found.sentence.startswith("trial 7 (3 fresh seeds) beats")


def test_another_trial_that_beats_the_baseline_is_named() -> None:
    rows = [
        row(1, "trial 7", 0.6, best=True).replace(minus_baseline=difference(0.05, 0.2)),
        row(2, "trial 3", 0.59, best=True).replace(minus_baseline=difference(0.04, 0.001)),
        SIMILARITY,
    ]
    found = conclude(TRIALS, evaluation_of(rows), None)
    assert found.others == (3,) and found.sentence.endswith("but trial 3 does")


def test_a_model_that_answers_nothing() -> None:
    zero = SIMILARITY.ranked_by
    assert zero is not None
    zero = zero.replace(value=0.0, low=0.0)
    rows = [
        row(1, "trial 7", 0.0, best=True).replace(minus_baseline=difference(0.0, 1.0, error=0.0)),
        SIMILARITY.replace(rank=2, ranked_by=zero, shots=(zero,), mean=zero, in_best_set=True),
    ]
    found = conclude(TRIALS, evaluation_of(rows), None, 28, 127)
    assert found.kind is VerdictKind.NOTHING_CORRECT and found.difference is None
    assert found.sentence == "the model answered nothing correctly: 2 rows with 0.0 % of 800 questions"
    assert "show-prompt" in found.next_steps[0] and "vocabulary" in found.next_steps[0]
    assert "highest" not in text_of(found) and "take" not in text_of(found)


def test_questions_of_another_split_prove_nothing_about_new_ones() -> None:
    own = row(1, "trial 7", 0.65, best=True).replace(minus_baseline=difference(0.1, 0.001))
    for split, said in ((SplitName.VAL, True), (SplitName.TEST, False)):
        found = conclude(TRIALS, evaluation_of([own, SIMILARITY], split=split), None)
        assert any("new ones may say otherwise" in line for line in found.details) is said


@pytest.mark.parametrize("verdicts", [[("no_op",)], []])
def test_no_trial_in_the_table(verdicts: list[tuple[str, ...]]) -> None:
    only = Contest((SIMILARITY,), (), "similarity", "1-shot accuracy", tuple(verdicts))
    found = conclude(TRIALS, evaluation_of([], only), None)
    assert found.kind is VerdictKind.NO_TRIAL_COMPARED and found.best is None
    assert "No trial was evaluated" in found.details[0] and "to export trial 3 all the same" in text_of(found)


def test_without_a_common_question_nothing_is_compared() -> None:
    found = conclude(TRIALS, against(None), None)
    assert found.kind is VerdictKind.NOT_COMPARED and "no question was answered for both" in found.sentence


def test_an_evaluation_of_an_earlier_version_has_its_verdict() -> None:
    """Without joint intervals, standard errors, audit and example."""
    stored = json.loads(against(difference(0.1, 0.001)).model_dump_json(exclude={"audit", "example", "sentence"}))
    for one in stored["rows"]:
        for name in ("minus_baseline", "minus_next"):
            if one[name] is not None:
                del one[name]["joint"], one[name]["error"]
    found = conclude(TRIALS, Evaluation.model_validate_json(json.dumps(stored)), None)
    assert found.sentence.startswith("trial 7 beats similarity: +10.0 points [+9.0, +11.0]")
    assert found.questions_to_tell is None and len(found.details) == 1


# By the held-out table ------------------------------------------------------------------------------------------------


def held_out(gain: Difference | None, value: float = 0.5, other: Difference | None = None) -> list[HeldOutRow]:
    def one(name: str, preferred: float, gained: Difference | None) -> HeldOutRow:
        return HeldOutRow(name, preferred, gained, 0.5, gained, None, None)

    unsure = difference(-0.2, 0.3)
    return [
        one("random", 0.3, unsure), one("similarity", 0.5, None), one("rce_only", 0.52, unsure),
        one("trial 3", value, gain), one("trial 7", 0.1, other or unsure),
    ]  # fmt: skip


def test_the_held_out_table_speaks_where_no_model_was_asked() -> None:
    found = conclude(TRIALS, None, held_out(difference(-0.003, 0.4, 0.006), 0.497))
    assert found.sentence == (
        "no trial beats similarity (best: trial 3, -0.003 [-0.009, +0.003], corrected p 0.400, on 800 questions)"
    )
    assert (
        "Ahead of it: similarity, rce_only." in found.details[0] and "reward of the preferred beam" in found.details[0]
    )
    assert "to export trial 3 all the same:" in text_of(found) and "--trial" not in text_of(found)


def test_equal_rows_of_the_held_out_table_are_not_ahead() -> None:
    found = conclude(TRIALS, None, held_out(difference(0.0, 1.0, error=0.0)))
    assert found.kind is VerdictKind.EQUAL_TO_BASELINE
    assert "Ahead of it: rce_only. Exactly as high: similarity." in found.details[0]


def test_a_held_out_trial_that_beats_similarity_while_the_best_by_val_loss_does_not() -> None:
    found = conclude(TRIALS, None, held_out(difference(0.01, 0.4), 0.51, difference(0.2, 0.001)))
    assert found.kind is VerdictKind.NOT_DISTINGUISHED and found.others == (7,) and "but trial 7 does" in found.sentence
    assert conclude(TRIALS, None, held_out(difference(0.1, 0.001), 0.6)).kind is VerdictKind.BEATS_BASELINE


def test_a_first_trial_that_is_not_in_the_table_is_not_spoken_for() -> None:
    rows = [one for one in held_out(difference(0.1, 0.001)) if one.name != "trial 3"]
    found = conclude(TRIALS, None, rows)
    assert found.best == "trial 7" and "the best by val_loss of the trials in the table" in found.details[0]
    assert "to export trial 7 all the same" in text_of(found) and "--trial 7" in text_of(found)


def test_all_trials_labelled_no_op() -> None:
    rows = [one for one in held_out(None) if not one.name.startswith("trial")]
    trials = [replace(one, standing=Standing((Verdict.NO_OP,))) for one in TRIALS]
    found = conclude(trials, None, rows)
    assert found.kind is VerdictKind.NO_TRIAL_COMPARED and found.sentence.endswith("all are labelled no_op")
    assert "gone" in conclude(TRIALS, None, rows).sentence


# Without a comparison -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "sentence", "steps"),
    [
        ([], "no trial was completed", 0),
        ([TrialState.PRUNED] * 3, "no trial was completed: 3 pruned", 1),
        ([TrialState.FAIL], "no trial was completed: 1 failed", 1),
        ([TrialState.FAIL, TrialState.PRUNED], "no trial was completed: 1 pruned, 1 failed", 2),
    ],
)
def test_no_complete_trial(states: list[TrialState], sentence: str, steps: int) -> None:
    trials = rank([summary(number, state, "why") for number, state in enumerate(states)])
    found = conclude(trials, None, [])
    assert (found.kind, found.sentence, len(found.next_steps)) == (VerdictKind.NO_COMPLETE_TRIAL, sentence, steps)


def test_without_a_test_split_nothing_is_compared() -> None:
    found = conclude(TRIALS[:1], None, [])
    assert found.kind is VerdictKind.NOT_COMPARED and "no test split" in found.sentence
    assert "data.split.test" in found.next_steps[0] and "to export trial 3 all the same" in text_of(found)


# What else is known ---------------------------------------------------------------------------------------------------


def test_few_informative_groups_are_said_as_such() -> None:
    few, many = (conclude(TRIALS, None, held_out(difference(0.1, 0.001)), count, 127) for count in (28, 90))
    assert any("Of 127 validation groups only 28 have beams of different reward" in line for line in few.details)
    assert not any("validation group" in line for line in many.details)
    small = conclude(TRIALS, None, held_out(difference(0.1, 0.001)), 9, 9)
    assert any("There are only 9 validation groups" in line for line in small.details)
    assert (few.informative_groups, few.validation_groups) == (28, 127)


def test_an_equal_val_loss_is_no_rank() -> None:
    equal = [replace(one, value=1.0) for one in TRIALS]
    found = conclude(equal, None, held_out(difference(0.1, 0.001)))
    assert any("Trials 3, 7 have exactly the same val_loss" in line for line in found.details)
    assert not any("val_loss, so" in line for line in conclude(TRIALS, None, held_out(difference(0.1, 0.001))).details)


def test_how_many_questions_a_point_takes() -> None:
    found = conclude(TRIALS, against(difference(0.003, 0.4, error=0.011)), None)
    needed = questions_to_tell(0.011, 800, 0.01, 0.05)
    assert found.questions_to_tell == needed and needed is not None and found.more_questions == needed - 800
    assert f"ask {needed - 800:,} more questions of this kind, {needed:,} in all" in found.next_steps[-1]
    enough = conclude(TRIALS, against(difference(0.003, 0.4, error=0.001)), None)
    assert enough.more_questions == 0 and "800 questions are enough" in enough.next_steps[-1]
    unknown = conclude(TRIALS, against(difference(0.0, 1.0, error=None)), None)
    assert unknown.questions_to_tell is None and "questions" not in unknown.next_steps[-1]


# Stored and shown -----------------------------------------------------------------------------------------------------


def test_it_survives_ranking_json(tmp_path: Path) -> None:
    found = conclude(TRIALS, against(difference(0.1, 0.001)), None, 28, 127)
    paths = RunPaths.at(tmp_path)
    assert verdict_of_run(paths) is None, "the run has not ended"
    paths.ranking_file.write_json({"verdict": found.model_dump(mode="json")})
    assert verdict_of_run(paths) == found
    paths.ranking_file.write_json({"held_out": [{"test_loss": 1.0, "test_reward": 0.5}]})
    assert verdict_of_run(paths) is None, "a version without verdicts"
    for broken in (
        "{",
        "[1]",
        "7",
        "[" * 10**5,
        json.dumps({"verdict": {"kind": "great"}}),
        json.dumps({"verdict": None}),
    ):
        paths.ranking_file.write_text(broken)
        with pytest.raises(UserError, match="verdict cannot be read"):
            verdict_of_run(paths)


VERDICTS = [
    conclude(TRIALS, against(difference(-0.1, 0.001)), None, 28, 127),
    conclude(TRIALS, None, held_out(difference(0.01, 0.4))),
    conclude(TRIALS, None, []),
    conclude([], None, []),
]


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda one: one.kind)
def test_it_fits_80_columns_and_says_nothing_twice(verdict: RunVerdict) -> None:
    lines = text_of(verdict).splitlines()
    assert max(map(len, lines)) <= 80 and lines[0].startswith("verdict: ")
    said = [verdict.sentence, *verdict.details, *verdict.next_steps]
    assert len(said) == len(set(said))


# The formula ----------------------------------------------------------------------------------------------------------


def test_the_questions_are_those_of_the_textbook() -> None:
    """A standard deviation of 0.5 per question, a difference of 0.05, 5 % and 80 %: (1.96 + 0.8416)^2 / 0.01 = 785."""
    assert questions_to_tell(0.5 / math.sqrt(100), 100, 0.05, 0.05) == 785
    assert questions_to_tell(0.0, 100, 0.01, 0.05) is None


@given(
    deviation=st.floats(0.01, 1.0),
    asked=st.integers(2, 10_000),
    size=st.floats(0.005, 0.5),
    level=st.floats(0.001, 0.1),
)
def test_the_questions_depend_on_the_variance_of_one_question_alone(
    deviation: float, asked: int, size: float, level: float
) -> None:
    def needed(size: float, level: float, deviation: float = deviation, asked: int = asked) -> int:
        found = questions_to_tell(deviation / math.sqrt(asked), asked, size, level)
        assert found is not None
        return found

    count = needed(size, level)
    assert abs(count - needed(size, level, asked=2 * asked)) <= 1
    assert needed(size / 2, level) == pytest.approx(4 * count, abs=4)
    assert needed(size, level / 2) >= count and needed(size, level, 2 * deviation) == pytest.approx(4 * count, abs=4)
