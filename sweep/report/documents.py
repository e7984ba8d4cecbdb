"""What commands print with `--json`: one document each, for programs. The fields are described in docs/json.md.

Numbers that are none (NaN, infinity) are null, as JSON has no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from selector.arrays import Int8Array
from selector.data import DataSummary, Split
from sweep.evaluation.records import Evaluation
from sweep.plan.cost.records import Cost
from sweep.plan.plan import AnyPlan, CollectionPlan, EmbeddingPlan, Plan
from sweep.report.finite import document_text as document_text  # with the documents, for who imports them
from sweep.report.plan import label_of_override
from sweep.results.export import Exported
from sweep.results.run_verdict import RunVerdict
from sweep.results.verify import Verification
from sweep.runs.paths import EvaluationPaths, RunPaths
from sweep.space import canonical


def plan_document(plan: AnyPlan, cost: Cost, warnings: Sequence[str]) -> dict[str, Any]:
    """What `validate` found. Of `data`, `collect` and `embed` one is not null: what the run begins with."""
    space, request = plan.space, plan.request
    rce, grpo = space.epochs()
    settings = canonical(space)
    settings.pop("storage")  # it may hold a password
    return {
        "format": "sweep-validate/1",
        "valid": True,
        "space": space.name,
        "source": request.source,
        "set": [label_of_override(text) for text in request.overrides],
        "warnings": list(warnings),
        "most_epochs": {"rce": rce, "grpo": grpo},
        "data": _data(plan) if isinstance(plan, Plan) else None,
        "collect": _collection(plan) if isinstance(plan, CollectionPlan) else None,
        "embed": _embedding(plan) if isinstance(plan, EmbeddingPlan) else None,
        "cost": asdict(cost),
        "settings": settings,
    }


def _data(plan: Plan) -> dict[str, Any]:
    path = plan.collected or plan.data.path
    return {
        "path": None if path is None else str(path),
        "selector_parameters": plan.parameters,
        "questions_asked": plan.evaluation is not None,
        **_summary(plan.summary),
    }


def _summary(summary: DataSummary) -> dict[str, Any]:
    values = {name: _by_name(value) for name, value in asdict(summary).items()}
    return {**values, "outcomes": [str(outcome) for outcome in summary.outcomes]}


def _by_name(value: Any) -> Any:  # noqa: ANN401 (any field of a summary)
    if isinstance(value, dict):
        return {key.name.lower() if isinstance(key, Split) else str(key): item for key, item in value.items()}
    return value


def _embedding(plan: EmbeddingPlan) -> dict[str, Any]:
    return {
        "path": str(plan.folder),
        "items": len(plan.items),
        "inputs": plan.settings.inputs.value,
        "width": plan.width,
        "queries": _by_split(plan.splits),
        "most_beams": plan.most_beams,
        "model": plan.settings.model.path,
    }


def _by_split(splits: Int8Array) -> dict[str, int]:
    return {split.name.lower(): int((splits == int(split)).sum()) for split in Split}


def _collection(plan: CollectionPlan) -> dict[str, Any]:
    beams = plan.beams
    sizes = np.diff(beams.beam_starts)
    return {
        "path": str(plan.folder),
        "items": len(plan.items),
        "width": int(beams.embeddings.shape[1]),
        "queries": _by_split(beams.queries.split),
        "beams": len(beams),
        "prompts": list(plan.prompts),
        "picks": int(beams.beam_picks.shape[1]),
        "group_sizes": {"minimum": int(sizes.min()), "maximum": int(sizes.max()), "median": float(np.median(sizes))},
        "model": plan.vlm.model.path,
    }


def export_document(paths: RunPaths | None, exported: Exported, commit: str | None) -> dict[str, Any]:
    """What `export` wrote, and where it was uploaded."""
    return {
        "format": "sweep-export/1",
        "run": None if paths is None else paths.name,
        "folder": str(exported.folder),
        "trial": exported.trial,
        "epoch": exported.manifest.get("step"),
        "val_loss": exported.manifest.get("metrics", {}).get("val_loss"),
        "chosen": exported.chosen,
        "verdict": exported.verdict,
        "pushed": commit,
        "manifest": exported.manifest,
    }


def verification_document(paths: RunPaths, found: Verification) -> dict[str, Any]:
    """What `verify` checked, and what differs."""
    return {
        "format": "sweep-verify/1",
        "run": paths.name,
        "agrees": not found.faults,
        "sentence": found.sentence,
        "trials": found.trials,
        "checkpoints": found.checkpoints,
        "answers": found.answers,
        "faults": [asdict(fault) for fault in found.faults],
        "notes": found.notes,
        "epochs": [{**asdict(one), "agrees": one.agrees} for one in found.epochs],
        "rows": [asdict(row) for row in found.rows],
    }


def evaluation_document(
    paths: RunPaths, place: EvaluationPaths, evaluation: Evaluation, verdict: RunVerdict
) -> dict[str, Any]:
    """What `evaluate` found: its verdict, and everything that `evaluation.json` holds."""
    return {
        "format": "sweep-evaluate/1",
        "run": paths.name,
        "name": place.name,
        "folder": str(place.root),
        "verdict": verdict.model_dump(mode="json"),
        "evaluation": evaluation.model_dump(mode="json"),
    }
