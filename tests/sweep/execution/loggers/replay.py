"""The trials of a finished run as the events that its driver had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweep.api import load_run
from sweep.execution.events import TrialEnded, TrialObserver, TrialStarted
from sweep.runs.paths import RunPaths
from sweep.trials.messages import EpochResult
from sweep.trials.stored import read_history


def replay(paths: RunPaths, observers: Sequence[TrialObserver]) -> None:
    for row in sorted(load_run(paths.shown).trials, key=lambda row: row.number):
        history = read_history(paths.trial(row.number).history_file)
        for observer in observers:
            observer.started(TrialStarted(row.number, row.params, False, {}))
            for report in history:
                observer.epoch(EpochResult(row.number, report, (), None, False, None, ""))
            observer.ended(TrialEnded(row, None, {}))


def results_of(paths: RunPaths) -> dict[str, Path]:
    return {"ranking.json": paths.ranking_file.local(), "evaluation.json": paths.evaluation("declared").file.local()}
