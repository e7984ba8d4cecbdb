"""One prompt with its answer, for people to see why no answer is correct."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.evaluation.answer_table import AnswerRecord
from sweep.evaluation.records import Evaluation, ExampleRecord
from sweep.evaluation.winner import nothing_correct
from sweep.plan.plan import EvaluationPlan
from sweep.vlm.engine.loading import load_tokenizer
from sweep.vlm.prompts import PromptRenderer
from sweep.vlm.work import WorkItem

PROMPT_END = 240  # characters


def with_example(evaluation: Evaluation, answers: Sequence[AnswerRecord], plan: EvaluationPlan) -> Evaluation:
    """The evaluation with an example, if nothing in it is correct: the first answer of its winner, with most shots."""
    if not nothing_correct(evaluation.rows):
        return evaluation
    own = [one for one in answers if one.text is not None and one.split == evaluation.settings.split]
    of_winner = [one for one in own if one.row == evaluation.winner.row]
    shown = max(of_winner or own, key=lambda one: one.shots)
    prompt = PromptRenderer(plan.vlm.prompt, load_tokenizer(plan.vlm.model)).render(
        WorkItem(shown.item, shown.demonstrations), plan.items
    )
    return evaluation.replace(
        example=ExampleRecord(
            item=shown.item,
            question=plan.items.question(shown.item),
            prompt_end=prompt.text[-PROMPT_END:],
            answer=shown.text or "",
            references=tuple(dict.fromkeys(plan.items.answers(shown.item))),
        )
    )
