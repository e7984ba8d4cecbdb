"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass

from sweep.evaluation.records import Evaluation
from sweep.results.held_out import HeldOutRow
from sweep.results.run_verdict import RunVerdict
from sweep.runs.paths import RunPaths
from sweep.study import TrialSummary


@dataclass(frozen=True)
class RunOutcome:
    """The end of a run. `ranked` has the complete trials first, best on top.

    `evaluation` is None where no model answers; `held_out` is empty where one does. `verdict` is None while trials are
    left, because the run was interrupted. `gone` says what of the best checkpoint is missing or damaged, and is empty
    where there is nothing to say.
    """

    paths: RunPaths
    ranked: list[TrialSummary]
    held_out: list[HeldOutRow]
    evaluation: Evaluation | None
    interrupted: bool
    ended_because: str
    verdict: RunVerdict | None = None
    gone: str = ""

    @property
    def exit_code(self) -> int:
        """0: at least one complete trial, and the best one's checkpoint is there; 1: not so; 130: interrupted."""
        if self.interrupted:
            return 130
        return 0 if not self.gone and any(row.is_complete for row in self.ranked) else 1
