"""The verdict of a run on the screen: the sentence, what else is known, and what comes next."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from sweep.evaluation.records import ExampleRecord
from sweep.report.tables import labelled
from sweep.results.run_verdict import RunVerdict
from sweep.runs.paths import RunPaths


def print_verdict(console: Console, verdict: RunVerdict) -> None:
    """The verdict and its reasons."""
    style = "bold green" if verdict.is_worth_taking else "bold"
    console.print(Text(f"verdict: {verdict.sentence}", style=style))
    for line in verdict.details:
        console.print(Text(line))
    if verdict.example is not None:
        console.print()
        console.print(labelled(example_lines(verdict.example)))
    for step in verdict.next_steps:
        console.print(Text(f"next: {step}"))


def example_lines(example: ExampleRecord) -> list[tuple[str, str]]:
    """One prompt with its answer, as labels and texts."""
    return [
        ("item", str(example.item)),
        ("question", example.question),
        ("prompt's end", example.prompt_end),
        ("answer", repr(example.answer)),
        ("expected", ", ".join(map(repr, example.references))),
    ]


def print_export_command(console: Console, verdict: RunVerdict, paths: RunPaths, first: int) -> None:
    """How the best trial is exported, and whether the verdict is for it.

    Args:
        console: where it is shown.
        verdict: the run's.
        paths: the run's.
        first: number of the trial that `export` takes by default.
    """
    trial = first if verdict.trial is None else verdict.trial
    named = f" --trial {trial}" if trial != first else ""
    purpose = f"take {verdict.best} home with" if verdict.is_worth_taking else f"to export trial {trial} all the same"
    for line in (f"{purpose}:", f"  python -m sweep export {paths.shown} --out DIR{named}"):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
