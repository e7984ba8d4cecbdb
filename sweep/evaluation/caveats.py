"""What the numbers of an evaluation leave out, in sentences. The screen and the report say the same."""

from __future__ import annotations

from sweep.evaluation.records import Evaluation
from sweep.evaluation.wording import counted

LABELS = 5


def caveats(evaluation: Evaluation) -> list[str]:
    """What was left out: prompts without an answer, candidates, and pools that were too small."""
    found = []
    for stage in evaluation.stages:
        if stage.dropped:
            found.append(f"Dropped after {stage.questions} questions: {', '.join(stage.dropped)}.")
    if evaluation.failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in evaluation.failures.items())
        labels = [f"{label} ({count})" for label, count in evaluation.failure_labels.items()]
        named = f": {', '.join(labels[:LABELS])}" if labels else ""
        more = f" and {len(labels) - LABELS} more" if len(labels) > LABELS else ""
        total = sum(evaluation.failures.values())
        prompts = f"{total} of {counted(evaluation.work_items, 'prompt')} {'has' if total == 1 else 'have'}"
        rows = ", ".join(f"{row.name} ({row.failures})" for row in evaluation.rows if row.failures)
        by_row = f" By row: {rows}." if rows else ""
        found.append(f"{prompts} no answer ({kinds}){named}{more}.{by_row}")
    if evaluation.excluded:
        were = "was" if evaluation.excluded == 1 else "were"
        excluded = f"{counted(evaluation.excluded, 'candidate')} {were}"
        found.append(f"{excluded} left out for sharing the image of their question.")
    short = [max(counts) for counts in zip(*(row.short_pools for row in evaluation.rows), strict=True)]
    small = [f"{count} at {shots} shots" for count, shots in zip(short, evaluation.shots, strict=True) if count]
    if small:
        found.append(f"Questions with fewer candidates than shots, which were shown all they have: {', '.join(small)}.")
    return found
