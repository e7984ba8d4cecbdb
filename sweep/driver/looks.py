"""What the ledger is told of an evaluation: which questions are asked for which rows, of which model."""

from __future__ import annotations

from sweep.evaluation.records import SourceRecord, settings_digest
from sweep.evaluation.rows import Panel
from sweep.plan.plan import EvaluationPlan, Plan
from sweep.results.ledger import Look, split_digest
from sweep.vlm.service import AnswerService


def source_of(evaluation: EvaluationPlan, service: AnswerService) -> SourceRecord:
    """The model that answers, and the items."""
    return SourceRecord(
        model=evaluation.vlm.model.path, answers=service.answer_settings, items=evaluation.items.fingerprint()
    )


def look_of(
    plan: Plan, evaluation: EvaluationPlan, source: SourceRecord, panel: Panel, name: str, command: str
) -> Look:
    """A look at a panel's questions that is about to begin.

    Args:
        plan: the run's.
        evaluation: the plan's.
        source: who answers.
        panel: questions and rows, as far as they are known.
        name: of the evaluation.
        command: of the command line.
    """
    settings = evaluation.settings
    return Look(
        command=command,
        evaluation=name,
        split=settings.split,
        split_digest=split_digest(plan.dataset, settings.split, source.items),
        settings_digest=settings_digest(settings, source),
        questions=len(panel.questions),
        rows={one.row.name: one.row.checkpoint for one in panel.selections},
    )
