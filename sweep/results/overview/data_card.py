"""The data card: what the training data holds, and what it can teach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selector.data import Split
from selector.data.description import DataDescription
from selector.settings import AdvantageMode
from sweep.evaluation.wording import counted
from sweep.results.importance import Target
from sweep.results.learning_curve import LearningCurve
from sweep.results.overview.model import (
    Axis,
    Block,
    Chart,
    Column,
    Format,
    Mark,
    Role,
    Section,
    Series,
    Table,
    Text,
    Value,
)
from sweep.results.overview.sources import Sources

MOST = 12
"""Sizes that are listed one by one. What is above the last of them is added up."""


def data_section(sources: Sources, curves: Sequence[LearningCurve]) -> Section:
    """What `python -m sweep data describe` says of the run's data, and whether more of it would help."""
    blocks = [block for curve in curves for block in _learning_curve(curve)]
    found = sources.material.data
    if found is None:
        why = sources.material.missing or "it was not looked at"
        return Section("data", "Data card", (Text((f"The data cannot be described: {why}.",)), *blocks))
    return Section("data", "Data card", (_facts(found), _splits(found), _modes(found), *blocks))


def _learning_curve(curve: LearningCurve) -> list[Block]:
    """The outcome over the number of training queries, and what the law says of more. Nothing where all had as many."""
    if len(curve.sizes) < 2:
        return []
    scale, what = (1.0, "val_loss") if curve.target is Target.VAL_LOSS else (100.0, "accuracy in %")
    sizes = tuple(one.queries for one in curve.sizes)
    known = tuple(scale * one.mean for one in curve.sizes)
    series = [Series("trials, mean", Mark.POINTS, sizes, known, Role.FIRST)]
    if curve.fitted:
        fitted = tuple(scale * value for value in curve.fitted)
        series.append(Series("power law", Mark.LINE, sizes, fitted, Role.FIRST))
    if curve.predictions:
        series.append(_predicted(curve, scale))
    said = "Whether more queries would help cannot be told" + (f": {curve.reason}." if curve.reason else ".")
    if curve.gain is not None:
        ends = f"{scale * curve.gain.value:+.3g} [{_end(curve.gain.low, scale)}, {_end(curve.gain.high, scale)}]"
        sure = "surely helps" if curve.is_told else "is not sure to help"
        said = f"Twice as many queries {sure}: {ends} in {what}, where above 0 is better."
    axes = Axis("training queries", log=True), Axis(what)
    return [Chart(f"queries_{curve.target.value}", f"More training queries: {what}", *axes, tuple(series), said)]


def _predicted(curve: LearningCurve, scale: float) -> Series:
    values = [one.value for one in curve.predictions]
    return Series(
        "extrapolated",
        Mark.LINE,
        tuple(one.queries for one in curve.predictions),
        tuple(scale * one.value for one in values),
        Role.SECOND,
        tuple(scale * (one.value if one.low is None else one.low) for one in values),
        tuple(scale * (one.value if one.high is None else one.high) for one in values),
    )


def _end(value: float | None, scale: float) -> str:
    return "unknown" if value is None else f"{scale * value:+.3g}"


def _facts(found: DataDescription) -> Table:
    summary, overlap = found.summary, found.overlap
    pools, groups = summary.pool_sizes, summary.group_sizes
    jaccard = "" if overlap.jaccard is None else f"; two pools share {overlap.jaccard:.1%} of their candidates"
    rows: list[tuple[Value, ...]] = [
        ("fingerprint", summary.fingerprint),
        ("items", f"{summary.items:,} of width {summary.width}"),
        ("candidates per query", f"{pools.minimum} to {pools.maximum}, median {pools.median:g}"),
        ("beams", f"{summary.beams:,} of {counted(summary.picks, 'pick')}"),
        ("beams per query", f"{groups.minimum} to {groups.maximum}, median {groups.median:g}"),
        ("positive beams", f"{summary.positive_beams_share:.1%} ({summary.positives_by})"),
        ("positive beams per query", _sizes(found.positives)),
        ("different candidates", f"{overlap.candidates:,}, each in {overlap.uses:.1f} pools on average{jaccard}"),
    ]
    if found.proposers:
        rows.append(("beams by proposer", ", ".join(f"{name} {count:,}" for name, count in found.proposers.items())))
    rows += [(name, str(count)) for name, count in summary.counts.items()]
    record, notes = found.collection, tuple[str, ...]()
    if record is not None:
        rows.append(("prompts by round", ", ".join(f"{one.number}: {one.prompts:,}" for one in record.rounds)))
        rows += [("extends the data set", parent.fingerprint) for parent in record.parents]
        notes = () if record.bias is None else (record.bias,)
    return Table("data_facts", "What it holds", (Column("what", "what"), Column("value", "")), tuple(rows), notes=notes)


def _sizes(groups: Mapping[int, int]) -> str:
    listed = list(groups.items())
    shown = [f"{size}: {count}" for size, count in listed[:MOST]]
    if len(listed) > MOST:
        shown.append(f"more: {sum(count for _, count in listed[MOST:])}")
    return f"{', '.join(shown)} queries"


def _splits(found: DataDescription) -> Table:
    """Queries by split, and how many of them teach nothing."""
    columns = (
        Column("split", "split"),
        Column("queries", "queries", Format.COUNT),
        Column("zero_variance", "all beams of equal reward", Format.COUNT),
        Column("share", "share", Format.SHARE),
    )
    summary = found.summary
    rows = tuple(
        (
            split.name.lower(),
            summary.queries[split],
            summary.zero_variance_groups[split],
            summary.zero_variance_share[split],
        )
        for split in Split
    )
    note = f"By the reward {next(mode.mode.value for mode in found.modes if not mode.missing)}."
    return Table("data_splits", "Queries by split, and those that teach nothing", columns, rows, notes=(note,))


def _modes(found: DataDescription) -> Table:
    """Rewards under every mode, and the advantages that GRPO would see."""
    columns = (
        Column("mode", "reward mode"),
        Column("mean", "mean", Format.NUMBER),
        *(Column(name, name, Format.NUMBER) for name in ("minimum", "quarter", "median", "three_quarters", "maximum")),
        Column("levels", "levels", Format.COUNT),
        *(Column(f"informative_{split.name.lower()}", f"informative, {split.name.lower()}") for split in Split),
        *(
            Column(f"advantage_std_{kind.value}", f"advantage std, {kind.value}", Format.NUMBER)
            for kind in AdvantageMode
        ),
    )
    usable = [mode for mode in found.modes if not mode.missing]
    rows = tuple(
        (
            mode.mode.value,
            mode.mean,
            *mode.quantiles,
            mode.levels,
            *((mode.informative or {}).get(split) for split in Split),
            *((mode.advantage_std or {}).get(kind) for kind in AdvantageMode),
        )
        for mode in usable
    )
    missing = tuple(f"{mode.mode.value} needs {', '.join(mode.missing)}." for mode in found.modes if mode.missing)
    note = "Informative queries have beams of different reward. Only they teach, and only they decide val_loss."
    return Table("data_modes", "Rewards by mode, with default weights", columns, rows, notes=(note, *missing))
