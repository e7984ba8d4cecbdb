"""What a plan will cost, in words."""

from __future__ import annotations

from rich.console import Group

from sweep.evaluation.wording import counted
from sweep.plan.cost.records import Cost, Phase, SampleSize
from sweep.report.tables import labelled, titled

UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def cost_table(cost: Cost) -> Group:
    """Rows for the phases, memory, disk and sample sizes."""
    rows = [(phase.name, _phase(phase)) for phase in cost.phases]
    rows += [*_total(cost), ("memory", _memory(cost))]
    rows.append(("disk", ", ".join(f"{name} {size_text(size)}" for name, size in cost.disk.items())))
    rows.append(("questions", _questions(cost.sample_size)))
    timed = f"measured on {cost.measured}" if cost.measured else "`validate --measure` says how long it takes here"
    return titled("Cost", labelled([*rows, ("times", timed)]))


def _phase(phase: Phase) -> str:
    amounts, most = phase.amounts, "at most " if phase.at_most else ""
    if phase.name == "train":
        text = f"{most}{amounts['trials']:,.0f} trials"
        again = amounts["trained again"]
        text += f" and {again:,.0f} finalists" if again else ""
        text += f", {amounts['epochs']:,.0f} epochs of {amounts['queries']:,.0f} queries"
    elif phase.name == "embed":
        text = (
            f"{amounts['images']:,.0f} images and {amounts['questions']:,.0f} questions, width {amounts['width']:.0f}"
        )
    else:
        known = f"{amounts['known']:,.0f} known already" if "known" in amounts else "known ones not looked up"
        tokens, unshared = amount_text(amounts["tokens"], "tokens"), amount_text(amounts["computed"], "not shared")
        text = f"{most}{amounts['prompts']:,.0f} prompts ({known}), {tokens} ({unshared})"
        size = f"{amounts['tokens per image']:.0f}"
        text += f", {amounts['images']:,.0f} images of {size} token{'' if size == '1' else 's'}"
    return f"{text}, {amount_text(phase.flops, 'FLOP')}{_time(phase)}"


def _time(phase: Phase) -> str:
    if phase.seconds is None:
        return ""
    gpus = "" if not phase.gpu_seconds else f", {hours_text(phase.gpu_seconds)} of GPU"
    return f": {hours_text(phase.seconds)} with {phase.workers} at a time{gpus}"


def _total(cost: Cost) -> list[tuple[str, str]]:
    seconds = [phase.seconds for phase in cost.phases if phase.seconds is not None]
    if not seconds:
        return []
    gpu = sum(phase.gpu_seconds or 0.0 for phase in cost.phases)
    return [("in all", hours_text(sum(seconds)) + (f", {hours_text(gpu)} of GPU" if gpu else ""))]


def _memory(cost: Cost) -> str:
    place = "GPU memory" if cost.device == "cuda" else "main memory"
    worker = "" if cost.worker is None else f"a worker of the model {size_text(cost.worker)} of {place}; "
    return f"{worker}a trial {size_text(cost.trial)}; data that trials share {size_text(cost.shared)}"


def _questions(found: SampleSize) -> str:
    listed = ", ".join(f"{counted(points, 'point')} {count:,}" for points, count in found.questions.items())
    basis = "two measured beams of a query differ so" if found.is_measured else "if one answer in five differs"
    asked = "" if found.told is None else f"; the {found.asked:,} that are asked tell {found.told:.1f} points"
    return f"to tell a difference of {listed} ({basis}){asked}"


def amount_text(amount: float, unit: str) -> str:
    """A number to three digits, with a prefix where it is large: `1.23 M tokens`, `877 GFLOP`."""
    size, prefix = next(((size, prefix) for size, prefix in UNITS if amount >= size), (1.0, ""))
    number = f"{amount / size:.3g}" if prefix else f"{amount:,.0f}"
    return f"{number} {prefix}{unit}" if unit == "FLOP" or not prefix else f"{number} {prefix} {unit}"


def size_text(size: float) -> str:
    """Bytes in a unit that people read."""
    return next((f"{size / unit:.3g} {name}" for unit, name in SIZES if size >= unit), f"{size:.0f} bytes")


def hours_text(seconds: float) -> str:
    """A duration in a unit that people read."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
