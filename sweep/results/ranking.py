"""`ranking.json`, the last file of a run: which trial is best, by which metric, and the verdict of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sweep.evaluation.questions import images_of
from sweep.evaluation.records import Evaluation
from sweep.plan.plan import Plan
from sweep.results.held_out import HeldOutRow, compare, row_dict
from sweep.results.policies import policies
from sweep.results.verdict import verdict_of
from sweep.runs.paths import RunPaths
from sweep.study import TrialSummary
from sweep.study.ranking import TOP


def held_out_rows(plan: Plan, paths: RunPaths, ranked: Sequence[TrialSummary]) -> list[HeldOutRow]:
    """Random, similarity, the shared RCE references, and the best complete trials that changed something."""
    selectors = {one.row.name: one.load() for one in policies(paths, ranked, TOP)}
    images = None if plan.evaluation is None else images_of(plan.evaluation.items)
    return compare(plan.dataset, plan.data, plan.space.validation, selectors, images)


def ranking_document(
    plan: Plan, ranked: Sequence[TrialSummary], rows: Sequence[HeldOutRow], evaluation: Evaluation | None
) -> dict[str, Any]:
    """What `ranking.json` holds. The winner by answers, where there is one, is more than the best by val_loss.

    `verdict` has the fields of `RunVerdict`.
    `trials` has the fields of `TrialSummary`, `state` in lower case, and those of its `Standing` beside them.
    """
    best = ranked[0] if ranked and ranked[0].is_complete else None
    winner = None if evaluation is None else evaluation.winner.model_dump(mode="json")
    return {
        "metric": {"name": "val_loss", "kind": plan.space.validation.metric, "direction": "minimize"},
        "data_fingerprint": plan.summary.fingerprint,
        "best_trial": None if best is None else best.number,
        "winner_by_answers": winner,
        "verdict": verdict_of(plan, ranked, rows, evaluation).model_dump(mode="json"),
        "trials": [_trial(row) for row in ranked],
        "held_out": [row_dict(row) for row in rows],
    }


def _trial(row: TrialSummary) -> dict[str, Any]:
    values = asdict(row)
    standing = values.pop("standing")
    return {**values, "state": row.state_name, **standing}
