"""What is different when an evaluation is made again: its settings, its source, its rows, its winner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sweep.evaluation.records import Evaluation, RowRecord, SourceRecord
from sweep.settings.evaluation import EvaluationSettings

NAMED = 5


def settings_changes(before: Evaluation, settings: EvaluationSettings, source: SourceRecord) -> list[str]:
    """Settings that differ from those of a stored evaluation, as `name: before -> now`."""
    old, new = before.settings.model_dump(mode="json"), settings.model_dump(mode="json")
    old["shots"], new["shots"] = list(before.settings.shot_numbers), list(settings.shot_numbers)
    changes = [*_differences(old, new, "evaluation.")]
    if before.source is not None:
        changes += _differences(dict(before.source.answers), dict(source.answers), "vlm.")
        changes += _differences({"items": before.source.items[:12]}, {"items": source.items[:12]}, "")
    return changes


def evaluation_changes(before: Evaluation, now: Evaluation) -> list[str]:
    """What is different between a stored evaluation and the one that takes its place. Empty where nothing is."""
    changes = settings_changes(before, now.settings, now.source) if now.source is not None else []
    rows, rows_now = {row.name: row for row in before.rows}, {row.name: row for row in now.rows}
    changes += _list("rows gone", [name for name in rows if name not in rows_now])
    changes += _list("rows new", [name for name in rows_now if name not in rows])
    both = [(row, rows_now[name]) for name, row in rows.items() if name in rows_now]
    changes += _list("other checkpoints", [new.name for old, new in both if old.checkpoint != new.checkpoint])
    changes += _list("other accuracies", [_accuracies(old, new) for old, new in both if old.shots != new.shots])
    changes += _list("other places in the table", [new.name for old, new in both if old.rank != new.rank])
    if before.winner.row != now.winner.row:
        changes.append(f"winner: {before.winner.row} -> {now.winner.row}")
    elif before.winner != now.winner:
        changes.append(f"what is said of the winner: {before.winner.sentence} -> {now.winner.sentence}")
    return changes or (["details below the table"] if before != now else [])


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name in sorted({*old, *new}):
        before, now = old.get(name), new.get(name)
        if before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            yield from _differences(before, now, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}: {before} -> {now}"


def _list(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"{what}: {', '.join(names[:NAMED])}{more}"]


def _accuracies(old: RowRecord, new: RowRecord) -> str:
    return f"{new.name} ({_percent(old)} -> {_percent(new)})"


def _percent(row: RowRecord) -> str:
    return "none" if row.ranked_by is None else f"{100 * row.ranked_by.value:.2f} %"
