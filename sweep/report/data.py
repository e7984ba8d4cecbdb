"""What a data set can teach, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group

from selector.data import Split
from selector.data.collection import CollectionRecord
from selector.data.description import DataDescription, ModeDescription
from selector.settings import AdvantageMode
from sweep.items.shared_images import SharedImages
from sweep.report.plan import data_table
from sweep.report.tables import labelled, plain_table, titled

MOST = 12
"""Sizes that are listed one by one. What is above the last of them is added up."""


def render_data(found: DataDescription, shared: Sequence[SharedImages] = ()) -> Group:
    """Everything, at 80 columns, with the queries that share an image with others, by kind."""
    summary, overlap = found.summary, found.overlap
    jaccard = "" if overlap.jaccard is None else f"; two pools share {overlap.jaccard:.1%} of their candidates"
    rows = [("positives per group", _sizes(found.positives)), ("beams per group", _sizes(found.group_sizes))]
    if found.proposers:
        rows.append(("proposed by", ", ".join(f"{name} {count}" for name, count in found.proposers.items())))
    rows += _collection(found.collection) if found.collection is not None else []
    rows.append(("candidates", f"{overlap.candidates} different ones, each in {overlap.uses:.1f} pools{jaccard}"))
    rows.append(("positive", f"{summary.positive_beams_share:.1%} of all beams ({summary.positives_by})"))
    rows += [("shared images", one.sentence) for one in shared] or [("shared images", "none between queries")]
    bias = found.collection.bias if found.collection is not None else None
    return Group(
        data_table(summary), labelled(rows), "", *([bias, ""] if bias else []), _rewards(found), "", _contrast(found)
    )


def _collection(record: CollectionRecord) -> list[tuple[str, str]]:
    """Rounds, what ended them, and the data sets that this one extends, the oldest first."""
    rounds = ", ".join(f"{one.number}: {one.prompts}" for one in record.rounds)
    end = f"; ended by the budget of {record.cut_by}" if record.cut_by else ""
    rows = [("prompts by round", rounds + end)]
    for parent in record.parents:
        size = f"{parent.queries} queries, {parent.beams} beams, up to round {parent.last_round}"
        rows.append(("extends", f"{ascii(parent.fingerprint[:16])[1:-1]}: {size}"))
    return rows


def _sizes(groups: Mapping[int, int]) -> str:
    """`0: 12 groups, 1: 5, 2: 3, more: 7`."""
    listed = list(groups.items())
    shown = [f"{size}: {count}" for size, count in listed[:MOST]]
    if len(listed) > MOST:
        shown.append(f"more: {sum(count for _, count in listed[MOST:])}")
    return f"{', '.join(shown)} groups"


def _rewards(found: DataDescription) -> Group:
    table = plain_table(["mean", "min", "25 %", "median", "75 %", "max", "levels", "mode"], left=("mode",))
    for mode in _usable(found):
        numbers = (f"{mode.mean:.3f}", *(f"{value:.2f}" for value in mode.quantiles), str(mode.levels))
        table.add_row(*numbers, mode.mode.value)
    missing = [f"{mode.mode.value} needs {', '.join(mode.missing)}" for mode in found.modes if mode.missing]
    return titled("Rewards by mode, with default weights", table, *missing)


def _contrast(found: DataDescription) -> Group:
    """Groups that can teach, and how large the advantages will be."""
    splits, kinds = list(Split), list(AdvantageMode)
    headers = [*(split.name.lower() for split in splits), *(kind.value for kind in kinds), "mode"]
    table = plain_table(headers, left=("mode",))
    for mode in _usable(found):
        informative = mode.informative or {}
        groups = [f"{informative.get(split, 0)}/{found.summary.queries[split]}" for split in splits]
        spread = [f"{mode.advantage_std[kind]:.3f}" if mode.advantage_std else "" for kind in kinds]
        table.add_row(*groups, *spread, mode.mode.value)
    title = (
        "Informative groups (beams of different reward) of all groups by split, and the standard deviation of the "
        "advantages in training, by kind"
    )
    return titled(title, table)


def _usable(found: DataDescription) -> list[ModeDescription]:
    return [mode for mode in found.modes if not mode.missing]


def data_document(found: DataDescription, shared: Sequence[SharedImages] = ()) -> dict[str, Any]:
    """The same as plain values for JSON. Splits and kinds stand by their names."""
    summary = asdict(found.summary)
    for name in ("queries", "zero_variance_groups", "zero_variance_share"):
        summary[name] = _by_split(summary[name])
    modes = []
    for mode in found.modes:
        values = asdict(mode)
        if mode.informative is not None:
            values["informative"] = _by_split(mode.informative)
        modes.append(values)
    return {
        "summary": summary,
        "modes": modes,
        "positives": {str(size): count for size, count in found.positives.items()},
        "group_sizes": {str(size): count for size, count in found.group_sizes.items()},
        "proposers": found.proposers,
        "overlap": asdict(found.overlap),
        "collection": None if found.collection is None else found.collection.model_dump(mode="json"),
        "shared_images": [asdict(one) for one in shared],
    }


def _by_split(values: Mapping[Split, float]) -> dict[str, float]:
    return {split.name.lower(): value for split, value in values.items()}
