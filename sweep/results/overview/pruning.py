"""Which trials were stopped early, when, why, and what that may have cost."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.evaluation.wording import counted
from sweep.results.overview.model import Block, Column, Format, Section, Table, Text
from sweep.results.overview.sources import Sources
from sweep.results.receipts import Receipt, words
from sweep.space.algorithms import PruningStarts
from sweep.study.comparison import Comparison


def pruning_section(sources: Sources, receipts: Sequence[Receipt]) -> Section:
    """A receipt for every pruned trial."""
    space = sources.space
    only_grpo = space.pruning_starts is PruningStarts.AFTER_RCE
    epochs = "of GRPO only, because trials of one warm-up are equal before" if only_grpo else "of both stages"
    lead = f"The pruner is {space.pruner.type}. It looks at the epochs {epochs}, and counts them from 1."
    if not receipts:
        return Section("pruning", "Pruning", (Text((lead, "No trial was pruned.")),))
    blocks: list[Block] = [Text((lead,)), _table(receipts)]
    return Section("pruning", "Pruning", tuple(blocks))


def _table(receipts: Sequence[Receipt]) -> Table:
    columns = (
        Column("trial", "trial"),
        Column("why", "why it was stopped"),
        Column("epoch", "at its epoch"),
        Column("value", "best val_loss until then", Format.LOSS),
        Column("compared", "value compared", Format.LOSS),
        Column("threshold", "threshold", Format.LOSS),
        Column("trials", "from trials"),
        Column("rung", "rung"),
        Column("expected", "val_loss it would have reached", Format.LOSS),
        Column("chance", "chance to be the best", Format.SHARE),
        Column("regret", "regret", Format.LOSS),
    )
    rows = tuple(
        (
            one.trial,
            words(one),
            one.epoch,
            one.value,
            *_compared(one.compared),
            one.expected,
            one.chance,
            one.regret,
        )
        for one in receipts
    )
    notes = (
        "What a trial would have reached is an estimate: had it improved from there as the trials did that ran on. The "
        "chance is the share of them whose improvement would have made it the best. The regret is what stopping it "
        "cost in val_loss, on average.",
    )
    return Table("pruned", f"{counted(len(receipts), 'pruned trial')}", columns, rows, notes=notes)


def _compared(found: Comparison | None) -> tuple[float | None, float | None, int | None, int | None]:
    return (None,) * 4 if found is None else (found.value, found.threshold, found.trials or None, found.rung)
