"""What `reproduce` prints: the outcome in one line, then where and by how much, and what is not as it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console

from sweep.results.reproduce import Loss, Outcome, Parting, Reproduction, Weights

NUMBERS = 3
"""Differing numbers of the first epoch that differs, which are shown."""


def print_reproduction(console: Console, found: Reproduction) -> None:
    """Print it."""
    for line in reproduction_lines(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def reproduction_lines(found: Reproduction) -> Iterator[str]:
    """The outcome first."""
    yield f"{found.trained.label}: {_outcome(found)}"
    if found.outcome is not Outcome.BIT and found.parting is not None:
        yield from _parting(found.parting)
    if found.largest is not None and found.largest.apart:
        yield f"  val_loss differs most at epoch {found.largest.step}, by {_distance(found.largest)}"
    if found.warm_up is not None and found.outcome is not Outcome.BIT:
        yield f"  warm-up: its weights {'are equal to the bit' if found.warm_up else 'differ'}"
    for one in found.weights:
        yield f"  epoch {one.step}: {_weights(one)}"
    if found.outcome is Outcome.BIT and not found.circumstances:
        return
    for other in found.circumstances:
        if other.then is not None:
            yield f"  {other.what}: {other.then} then, {other.now} now"
    if unknown := [other.what for other in found.circumstances if other.then is None]:
        yield f"  not recorded then: {', '.join(unknown)}"
    if not found.circumstances:
        yield "  versions, threads, device and data are what they were"


def _outcome(found: Reproduction) -> str:
    if found.outcome is Outcome.OTHER_DATA:
        return "not trained again, because this is not its data"
    epochs = f"{found.epochs} epochs" if found.epochs != 1 else "1 epoch"
    if found.outcome is Outcome.BIT:
        return f"equal to the bit ({epochs})"
    if found.outcome is Outcome.TOLERANCE:
        return f"equal within {found.tolerance:g}, but not to the bit ({epochs})"
    return f"NOT the same ({epochs}, tolerance {found.tolerance:g})"


def _parting(parting: Parting) -> Iterator[str]:
    loss = parting.loss
    yield f"  the curves part at epoch {loss.step} ({parting.stage}): val_loss {_distance(loss)}"
    if loss.now is not None:
        shown = [f"{one.where} {one.stored} then, {one.right} now" for one in parting.numbers[:NUMBERS]]
        more = len(parting.numbers) - len(shown)
        yield f"  there {'; '.join(shown)}" + (f"; and {more} more" if more else "")


def _distance(loss: Loss) -> str:
    if loss.now is None:
        return f"{loss.then:.6f} then; now the training ends before it"
    return f"{loss.apart:.1e} ({loss.then:.6f} then, {loss.now:.6f} now)"


def _weights(one: Weights) -> str:
    if one.equal:
        return "the stored weights are equal to the bit"
    if math.isnan(one.relative):
        return "stored then, and there is no such checkpoint now"
    same = f"{one.agreement:.1%} of the validation questions get the same demonstrations"
    return f"the weights differ by {one.relative:.1e} of their norm; {same}"


def reproduction_document(found: Reproduction) -> dict[str, Any]:
    """What `reproduce --json` prints. docs/json.md describes the fields."""
    parting, largest = found.parting, found.largest
    return {
        "format": "sweep-reproduce/1",
        "what": found.trained.label,
        "trial": found.trained.number,
        "seed": found.trained.settings.seed,
        "outcome": found.outcome.name.lower(),
        "same": found.is_same,
        "tolerance": found.tolerance,
        "epochs": found.epochs,
        "parting": None
        if parting is None
        else {**_loss(parting.loss), "stage": parting.stage, "numbers": [one.where for one in parting.numbers]},
        "largest_difference": None if largest is None else _loss(largest),
        "weights": [asdict(one) for one in found.weights],
        "warm_up_equal": found.warm_up,
        "circumstances": [asdict(one) for one in found.circumstances],
    }


def _first(parting: Parting) -> dict[str, Any]:
    return {**_loss(parting.loss), "stage": parting.stage, "numbers": [one.where for one in parting.numbers]}


def _loss(loss: Loss) -> dict[str, Any]:
    return {"epoch": loss.step, "then": loss.then, "now": loss.now, "apart": loss.apart}
