"""Where nothing is correct, people see one prompt with its answer."""

from __future__ import annotations

import pytest

from sweep.evaluation.evaluate import evaluate
from sweep.evaluation.rows import build_panel
from sweep.plan.plan import EvaluationPlan
from sweep.results.example import PROMPT_END, with_example
from sweep.results.run_verdict import VerdictKind
from sweep.results.verdict import conclude, verdict_by_answers
from sweep.settings.evaluation import EvaluationSettings
from sweep.settings.vlm import ModelSettings, VlmSettings
from sweep.study.ranking import rank
from sweep.vqa.accuracy import AnswerNormalisation
from tests.sweep.evaluation.worlds import World, dataset, held_out, score, selector, trial
from tests.sweep.report.test_trials import summary
from tests.sweep.vlm.models import MemoryTable

SETTINGS = EvaluationSettings(shots=2, resamples=1000, no_demonstrations=False)
ITEMS = len(dataset().embeddings)
TABLE = MemoryTable(
    questions=[f"what is in picture {item}?" for item in range(ITEMS)],
    all_answers=[("red disc", "red disc", f"disc {item}") for item in range(ITEMS)],
    images=[b"image"] * ITEMS,
)
PLAN = EvaluationPlan(SETTINGS, VlmSettings(model=ModelSettings(path="demo")), TABLE)


def nothing(item: int, text: str, normalisation: AnswerNormalisation) -> float:
    return 0.0


@pytest.mark.parametrize("wrong", [True, False])
def test_an_example_where_no_answer_is_correct(wrong: bool) -> None:
    panel = build_panel(dataset(), held_out(), [(trial(1, 1.0), selector(1))], SETTINGS)
    found = evaluate(panel, SETTINGS, World().ask, nothing if wrong else score)
    evaluation = with_example(found.evaluation, found.answers, PLAN)
    if not wrong:
        assert evaluation == found.evaluation and verdict_by_answers(evaluation).kind is not VerdictKind.NOTHING_CORRECT
        return
    example = evaluation.example
    assert example is not None
    shown = [one for one in found.answers if one.row == "trial 1" and one.item == example.item and one.shots == 2]
    assert [one.text for one in shown] == [example.answer]
    assert example.question == f"what is in picture {example.item}?"
    assert example.references == ("red disc", f"disc {example.item}")
    assert example.question in example.prompt_end and len(example.prompt_end) <= PROMPT_END
    verdict = conclude(rank([summary(1)]), evaluation, None)
    assert verdict.kind is VerdictKind.NOTHING_CORRECT and verdict.example == example and verdict.difference is None
