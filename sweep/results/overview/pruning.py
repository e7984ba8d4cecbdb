"""Which trials were stopped early, when, and why."""

from __future__ import annotations

from sweep.evaluation.wording import counted
from sweep.results.overview.model import Block, Column, Format, Section, Table, Text
from sweep.results.overview.sources import Sources
from sweep.study import TrialState


def pruning_section(sources: Sources) -> Section:
    """Every pruned trial with its reason."""
    space = sources.space
    pruned = sorted((row for row in sources.rows if row.state is TrialState.PRUNED), key=lambda row: row.number)
    lead = f"The pruner is {space.pruner.type}. It looks at the epochs " + (
        "of GRPO only, because trials of one warm-up are equal before."
        if space.pruning_starts == "after_rce"
        else "of both stages."
    )
    if not pruned:
        return Section("pruning", "Pruning", (Text((lead, "No trial was pruned.")),))
    columns = (
        Column("trial", "trial"),
        Column("epoch", "stopped at epoch"),
        Column("best", "best val_loss until then", Format.LOSS),
        Column("last", "val_loss there", Format.LOSS),
        Column("reason", "reason"),
    )
    rows = tuple((row.number, row.last_step, row.best_value, row.value, row.reason) for row in pruned)
    blocks: list[Block] = [Text((lead,)), Table("pruned", f"{counted(len(pruned), 'pruned trial')}", columns, rows)]
    return Section("pruning", "Pruning", tuple(blocks))
