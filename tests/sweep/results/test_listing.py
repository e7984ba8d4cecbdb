"""The runs of a folder in one table."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from sweep.errors import RunError
from sweep.report.listing import print_runs, short_verdict
from sweep.results.listing import DAMAGED, list_runs
from sweep.results.run_state import RunState
from sweep.results.run_verdict import RunVerdict, VerdictKind
from sweep.results.status import read_status
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from sweep.storage.open import open_folder
from sweep.terminal.console import Screen
from tests.sweep.commands import Command
from tests.sweep.trees import tree


@pytest.fixture
def runs(copy: Path) -> Path:
    """Beside a finished run one that was interrupted, and one that is damaged; and what is no run."""
    folder = copy.parent
    for name in ("stopped", "broken"):
        shutil.copytree(copy, folder / name)
    (folder / "stopped" / "ranking.json").unlink()
    (folder / "broken" / "ranking.json").write_text("[")
    (folder / ".mine.abc").mkdir()
    (folder / ".mine.abc" / "run.json").write_text("{}")
    (folder / "notes").mkdir()
    return folder


def test_every_run_is_a_row_that_agrees_with_its_status(runs: Path) -> None:
    before = tree(runs)
    rows = {row.paths.name: row for row in list_runs(stored_at(runs))}
    assert rows.keys() == {"mine", "stopped", "broken"} and tree(runs) == before
    assert rows["broken"].state == DAMAGED and rows["broken"].problem.startswith("ranking.json: ")
    for name in ("mine", "stopped"):
        row, status = rows[name], read_status(RunPaths.at(runs / name))
        assert (row.state, row.ended, row.planned) == (status.state, status.ended, status.planned)
        assert row.bytes == RunPaths.at(runs / name).root.size()
    assert rows["stopped"].state is RunState.INTERRUPTED and rows["mine"].state is RunState.FINISHED
    stopped, best = rows["stopped"], read_status(RunPaths.at(runs / "stopped")).best
    assert best is not None and (stopped.best, stopped.val_loss) == (best.number, best.value)
    ranking = json.loads((runs / "mine" / "ranking.json").read_text())
    assert rows["mine"].best == ranking["winner_by_answers"]["trial"]
    assert rows["mine"].verdict is not None and rows["mine"].verdict.sentence == ranking["verdict"]["sentence"]


def test_a_run_that_is_driven_is_running(runs: Path) -> None:
    with RunPaths.at(runs / "stopped").lock_file.lock():
        (row,) = [row for row in list_runs(stored_at(runs)) if row.paths.name == "stopped"]
    assert row.state is RunState.RUNNING


def test_the_table_fits_eighty_columns(runs: Path) -> None:
    console = Screen(file=io.StringIO(), width=80)
    print_runs(console, list_runs(stored_at(runs)), "runs")
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines) and len([line for line in lines if line.startswith("mine ")]) == 1
    difference = {"value": 0.1565, "low": 0.09, "high": 0.2, "questions": 150, "p": 0.0, "p_holm": 0.0}
    verdict = RunVerdict.model_validate(
        {"kind": "beats_baseline", "sentence": "", "baseline": "similarity", "measure": "mean accuracy over 1 shot"}
        | {"difference": difference}
    )
    assert short_verdict(verdict) == "beats similarity by 15.7 points"
    assert all(short_verdict(RunVerdict(kind=kind, sentence="")) for kind in VerdictKind)


def test_the_command_and_runs_elsewhere(runs: Path, cache: Path, command: Command, tmp_path: Path) -> None:
    code, out, error = command("list", "--runs", str(runs), "--json")
    document = json.loads(out)
    assert code == 0 and not error and document["format"] == "sweep-list/1"
    assert {one["run"]: one["state"] for one in document["runs"]}["broken"] == DAMAGED
    elsewhere = [row.state for row in list_runs(open_folder(f"local://{runs}"))]
    assert sorted(elsewhere) == sorted(one["state"] for one in document["runs"])
    code, out, _ = command("list", "--runs", str(tmp_path / "nowhere"))
    assert code == 0 and "no runs in" in out


def test_a_bucket_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = stored_at(tmp_path)
    monkeypatch.setattr(type(folder), "lacks_bucket", lambda self: True)
    with pytest.raises(RunError, match="its bucket does not exist"):
        list_runs(folder)
