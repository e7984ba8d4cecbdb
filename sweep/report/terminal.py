"""What commands print: the end of a run, its trials, a comparison by answers."""

from __future__ import annotations

from rich.console import Console

from sweep.evaluation.records import read_evaluation
from sweep.report.evaluation import render
from sweep.report.evaluations import asked_lines, evaluation_lines
from sweep.report.held_out import held_out_table
from sweep.report.trials import trial_table
from sweep.report.verdict import print_export_command, print_verdict
from sweep.results.evaluations import main_name
from sweep.results.ledger import HELD_OUT
from sweep.results.outcome import RunOutcome
from sweep.runs.paths import EvaluationPaths, RunPaths

TRIALS_AT_THE_END = 20


def print_outcome(console: Console, ended: RunOutcome) -> None:
    """The end of a run: ranking, comparison, verdict, and where everything is."""
    console.print()
    title = "Trials by val_loss (lower is better; only complete trials have a rank)"
    console.print(trial_table(ended.ranked, title, TRIALS_AT_THE_END))
    if len(ended.ranked) > TRIALS_AT_THE_END:
        left = len(ended.ranked) - TRIALS_AT_THE_END
        _line(console, f"and {left} more: `python -m sweep status {ended.paths.shown} --all` shows all")
    if ended.held_out:
        console.print()
        console.print(held_out_table(ended.held_out))
        for line in asked_lines(ended.paths, HELD_OUT):
            _line(console, line)
    if ended.evaluation is not None:
        console.print()
        print_evaluation(console, ended.paths, ended.paths.evaluation(main_name(ended.paths)))
    console.print()
    if ended.ended_because:
        _line(console, f"no more trials: {ended.ended_because}")
    if ended.interrupted:
        _line(console, f"interrupted; continue with: python -m sweep resume {ended.paths.shown}")
    if ended.gone:
        _line(console, f"the best cannot be taken home: {ended.gone}")
    if ended.verdict is not None:
        print_verdict(console, ended.verdict)
        if not ended.exit_code:
            by_answers = ended.evaluation.winner.trial if ended.evaluation is not None else None
            first = ended.ranked[0].number if by_answers is None else by_answers
            print_export_command(console, ended.verdict, ended.paths, first)
    _line(console, f"run folder: {ended.paths.shown}")


def print_evaluation(console: Console, paths: RunPaths, place: EvaluationPaths) -> None:
    """The comparison by answers, how often its questions were asked, and which other evaluations there are."""
    console.print(render(read_evaluation(place.file), place.name))
    for line in evaluation_lines(paths, place):
        _line(console, line)


def _line(console: Console, text: str) -> None:
    """A line that is never folded, so that commands and paths in it can be copied."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)
