"""What `verify` prints: accuracies and losses that were computed again, what differs, and the end in one sentence."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from sweep.report.tables import plain_table
from sweep.results.verify import Verification

MOST_EPOCHS = 24
MOST_FAULTS = 40


def print_verification(console: Console, found: Verification) -> int:
    """Tables of what was computed again and of what differs. Returns the exit code: 1 if anything differs."""
    if found.epochs:
        _print_epochs(console, found)
    if found.rows:
        _print_rows(console, found)
    for note in found.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)
    if found.faults:
        _print_faults(console, found)
    console.print(Text(found.sentence, style="bold red" if found.faults else ""), soft_wrap=True)
    return 1 if found.faults else 0


def _print_epochs(console: Console, found: Verification) -> None:
    """The first ones, and every one that differs."""
    table = plain_table(["trial", "epoch", "stored val_loss", "computed again", ""])
    shown = [row for place, row in enumerate(found.epochs) if place < MOST_EPOCHS or not row.agrees]
    for row in shown:
        numbers = f"{row.stored:.6f}", f"{row.recomputed:.6f}"
        table.add_row(str(row.trial), str(row.step), *numbers, _verdict(row.agrees))
    console.print(table)
    if len(shown) < len(found.epochs):
        console.print(f"and {len(found.epochs) - len(shown)} more epochs that agree", highlight=False)
    console.print()


def _print_rows(console: Console, found: Verification) -> None:
    table = plain_table(["row", "evaluation", "stored accuracy", "computed again", ""], left=("row", "evaluation"))
    for row in found.rows:
        numbers = [f"{value:.4f}" if value is not None else "none" for value in (row.stored, row.recomputed)]
        table.add_row(Text(row.row), Text(row.evaluation), *numbers, _verdict(not row.faults))
    console.print(table)
    console.print()


def _print_faults(console: Console, found: Verification) -> None:
    """Two lines each: where it is, and what is there. Paths are never folded."""
    for fault in found.faults[:MOST_FAULTS]:
        console.print(Text(fault.place, style="bold"), soft_wrap=True)
        console.print(Text(f"  {fault.stored}" + (f"; right: {fault.right}" if fault.right else "")), soft_wrap=True)
    if len(found.faults) > MOST_FAULTS:
        console.print(f"and {len(found.faults) - MOST_FAULTS} more", highlight=False)
    console.print()


def _verdict(agrees: bool) -> Text:
    return Text("ok") if agrees else Text("differs", style="bold red")
