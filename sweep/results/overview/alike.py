"""How alike the trials select: whether two of them are one selector under two numbers."""

from __future__ import annotations

import numpy as np

from selector.arrays import Float64Array, Int64Array
from sweep.evaluation.wording import counted
from sweep.results.compare import agreement
from sweep.results.compared import SAME_SHARE
from sweep.results.overview.model import Column, Format, Table, Value
from sweep.results.overview.sources import Sources

MATRIX = 12
"""Best trials that are compared two by two in the page."""


def alike_table(sources: Sources) -> Table | None:
    """Of each complete trial the one that selects most like it, then the best ones two by two.

    None where it was not looked at what trials select, or there is one trial alone.
    """
    picks = sources.evidence.picks
    if len(picks) < 2:
        return None
    numbers = list(picks)
    shares = _shares([picks[number] for number in numbers])
    best = numbers[:MATRIX]
    columns = (
        Column("trial", "trial"),
        Column("most_alike", "most alike"),
        Column("share", "same demonstrations", Format.SHARE),
        *(Column(f"trial_{number}", f"as trial {number}", Format.SHARE) for number in best),
    )
    rows: list[tuple[Value, ...]] = []
    for place, number in enumerate(numbers):
        others = [(shares[place, other], -other) for other in range(len(numbers)) if other != place]
        share, other = max(others)
        row = (shares[place, other] if other != place else None for other in range(len(best)))
        rows.append((number, numbers[-other], float(share), *(None if one is None else float(one) for one in row)))
    queries = len(picks[numbers[0]])
    return Table("alike", "How alike the trials select", columns, tuple(rows), notes=(_note(shares, queries),))


def _shares(picks: list[Int64Array]) -> Float64Array:
    """Share of the queries for which two trials select the same in the same order, by trial and trial."""
    items = np.arange(len(picks[0]))
    found = np.ones((len(picks), len(picks)))
    for first in range(len(picks)):
        for second in range(first):
            same = agreement(picks[first], picks[second], items).order[-1]
            found[first, second] = found[second, first] = same
    return found


def _note(shares: Float64Array, queries: int) -> str:
    twins = int((np.triu(shares, 1) >= SAME_SHARE).sum())
    said = "No two trials are" if not twins else f"{counted(twins, 'pair')} of trials {'is' if twins == 1 else 'are'}"
    return (
        f"Share of the {queries} validation queries for which two trials show the same demonstrations in the same "
        f"order. {said} functionally the same, which takes {SAME_SHARE:.0%}."
    )
