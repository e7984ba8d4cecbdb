"""Which trials were stopped early, when, why, and what that may have cost."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.evaluation.wording import counted
from sweep.results.overview.model import Block, Column, Format, Section, Table, Text
from sweep.results.overview.sources import Sources
from sweep.results.receipts import Receipt
from sweep.space.algorithms import PruningStarts

NAMED = 12


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
        Column("threshold", "stopped above", Format.LOSS),
        Column("compared_with", "compared with trials"),
        Column("expected", "val_loss it would have reached", Format.LOSS),
        Column("chance", "chance to be the best", Format.SHARE),
        Column("regret", "regret", Format.LOSS),
    )
    rows = tuple(
        (
            one.trial,
            _why(one),
            one.epoch,
            one.value,
            one.threshold,
            _numbers(one.compared_with),
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


def _why(one: Receipt) -> str:
    """The reason in words, with the numbers that the pruner compared."""
    if one.value is None or one.threshold is None:
        return one.reason
    others = counted(len(one.compared_with), "complete trial")
    if one.value <= one.threshold:
        return f"{one.reason}: at {one.value:.4f} and no better than {others} there"
    line = "the median" if one.reason.startswith("median") else "the limit"
    return f"{one.reason}: {one.value:.4f} is above {one.threshold:.4f}, {line} of {others} that had got as far"


def _numbers(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"{', '.join(map(str, numbers[:NAMED]))}{more}"
