"""What commands print at the end of a run and of its looks at it, within 80 columns."""

from __future__ import annotations

import io
import re
from pathlib import Path

from optuna.trial import TrialState
from rich.console import Console

from sweep.evaluation.records import Difference
from sweep.report.held_out import held_out_table
from sweep.report.tables import labelled
from sweep.report.terminal import print_outcome
from sweep.report.verification import print_verification
from sweep.results.differences import Fault
from sweep.results.held_out import HeldOutRow
from sweep.results.outcome import RunOutcome
from sweep.results.verdict import conclude
from sweep.results.verify import Verification
from sweep.results.verify_evaluation import VerifiedRow
from sweep.results.verify_trials import Recomputed
from sweep.runs.paths import RunPaths
from sweep.study.ranking import rank
from sweep.terminal.console import Screen
from tests.sweep.report.test_trials import summary


def gain(value: float, low: float, high: float, p: float = 0.5) -> Difference:
    return Difference(
        value=value, low=low, high=high, questions=40, p=p, p_holm=p, joint=(2 * low, 2 * high), error=(high - low) / 4
    )


HELD_OUT = [
    HeldOutRow("random", 0.5, gain(0.1, -1.234, 1.234), 0.5, gain(0.1, -0.234, 0.2), (0.1, 0.2), None),
    HeldOutRow(
        "rce_only 0123ab", 0.25, gain(0.0, -0.25, 0.25), float("nan"), None, (0.3, 0.4), gain(-0.1234, -0.2, -0.0001)
    ),
]


def screen(width: int = 80) -> Console:
    return Screen(file=io.StringIO(), width=width)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_end_of_a_run_has_20_trials_and_says_where_the_others_are(tmp_path: Path) -> None:
    rows = rank([summary(number) for number in range(24)])
    console = screen()
    verdict = conclude(rows, None, HELD_OUT)
    paths = RunPaths.at(tmp_path / "mine")
    print_outcome(console, RunOutcome(paths, rows, HELD_OUT, None, False, "all are done", verdict))
    lines = text_of(console).splitlines()
    assert len([line for line in lines if re.match(r" *\d+ +\d+ complete ", line)]) == 20
    assert f"and 4 more: `python -m sweep status {tmp_path / 'mine'} --all` shows all" in lines
    assert f"run folder: {tmp_path / 'mine'}" in lines and "no more trials: all are done" in lines
    assert (
        f"verdict: {verdict.sentence}" in " ".join(text_of(console).split())
        and "to export trial 0 all the same:" in lines
    )
    assert f"  python -m sweep export {tmp_path / 'mine'} --out DIR" in lines


def test_a_run_without_a_complete_trial_says_so_and_an_interrupted_one_how_to_go_on(tmp_path: Path) -> None:
    rows = [summary(0, TrialState.FAIL, "no memory")]
    for interrupted, expected in ((False, "no trial was completed"), (True, "interrupted; continue with: python -m")):
        console = screen()
        verdict = None if interrupted else conclude(rows, None, [])
        print_outcome(console, RunOutcome(RunPaths.at(tmp_path), rows, [], None, interrupted, "", verdict))
        assert expected in text_of(console) and "export" not in text_of(console)


def test_held_out_rows_within_80_columns() -> None:
    console = screen()
    console.print(held_out_table(HELD_OUT))
    lines = text_of(console).splitlines()
    assert max(map(len, lines)) <= 80
    accuracy, order = [line.split() for line in lines if line.startswith("rce_only")]
    assert accuracy[2:] == ["0.300", "0.400", "-0.123", "[-0.200,", "+0.000]"]
    assert order[2:] == ["0.250", "+0.000", "[-0.250,", "+0.250]", "undefined"]


def test_verification_names_what_differs() -> None:
    console = screen()
    epochs = [Recomputed(1, 3, 0.5, 0.5), Recomputed(2, 4, 0.5, 0.6)]
    rows = [VerifiedRow("declared", "trial [1]", 0.5, None, 1), VerifiedRow("declared", "random", 0.25, 0.25, 0)]
    faults = [Fault("evaluations/[red]x", "rows[0]", "1", "2")]
    found = Verification(2, 3, 0, faults, ["no seal"], epochs, rows)
    assert print_verification(console, found) == 1
    text = text_of(console)
    assert text.count(" differs") == 2 and "trial [1]" in text and "note: no seal" in text
    assert "evaluations/[red]x: rows[0]\n  1; right: 2\n" in text
    assert text.endswith("differs: 1 place (2 trials, 3 checkpoints)\n")
    assert print_verification(screen(), Verification(2, 3)) == 0


def test_verification_of_many_shows_the_first_and_every_one_that_differs() -> None:
    console = screen()
    epochs = [Recomputed(number, 3, 0.5, 0.5 + (number == 90)) for number in range(100)]
    faults = [Fault(f"file-{number}", "", "changed") for number in range(100)]
    assert print_verification(console, Verification(100, 100, 0, faults, [], epochs)) == 1
    text = text_of(console)
    assert "and 75 more epochs that agree" in text and text.count("differs\n") == 1 and "   90     3" in text
    assert "file-39" in text and "file-40" not in text and "and 60 more" in text


def test_nothing_in_labelled_texts_is_markup() -> None:
    console = screen()
    console.print(labelled([("data", "/runs/[red]x[/red]/[/]")]))
    assert "/runs/[red]x[/red]/[/]" in text_of(console)
