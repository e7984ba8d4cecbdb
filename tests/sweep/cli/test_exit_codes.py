"""What a scheduler sees of each end of a run, and that the table in docs/watching.md has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.cli import driving
from sweep.errors import ClusterError, RunError
from sweep.results.outcome import RunOutcome
from sweep.runs.paths import RunPaths
from sweep.study import TrialState
from tests.sweep.commands import Command, write_space
from tests.sweep.report.test_trials import summary

FULL = OSError(28, "No space left on device", "runs/mine/run.log")


def outcome(state: TrialState, interrupted: bool = False) -> RunOutcome:
    return RunOutcome(RunPaths.at("runs/mine"), [summary(0, state)], [], None, interrupted, "")


ENDS: dict[str, tuple[RunOutcome | BaseException, int]] = {
    "a complete trial": (outcome(TrialState.COMPLETE), 0),
    "none": (outcome(TrialState.PRUNED), 1),
    "interrupted with trials": (outcome(TrialState.COMPLETE, interrupted=True), 130),
    "interrupted before": (KeyboardInterrupt(), 130),
    "no Ray": (ClusterError("cannot start Ray"), 2),
    "stopped": (RunError("run mine stopped"), 2),
    "a full disk": (FULL, 2),
}


@pytest.mark.parametrize("name", ENDS)
def test_each_end_has_its_exit_code(
    name: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, expected = ENDS[name]

    def execute(*arguments: object, **options: object) -> RunOutcome:
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr(driving, "execute", execute)
    code, _, error = command("run", str(write_space(tmp_path)), "--runs", str(tmp_path / "runs"))
    assert code == expected
    assert error.count("error:") == (expected == 2) and "Traceback" not in error
    table = (Path(__file__).parents[3] / "docs" / "watching.md").read_text()
    assert f"| {expected} | " in table
