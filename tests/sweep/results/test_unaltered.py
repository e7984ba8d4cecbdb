"""Commands that build on a run look first whether it was changed, and whether its best checkpoint is there."""

from __future__ import annotations

import io
import re
from functools import partial
from pathlib import Path

import pytest

from selector.errors import UserError
from sweep.errors import RunError
from sweep.evaluation.records import read_evaluation
from sweep.report.terminal import print_outcome
from sweep.results.best import best_of
from sweep.results.export import export
from sweep.results.outcome import RunOutcome
from sweep.results.policies import policies
from sweep.results.seal import SEAL
from sweep.results.unaltered import check_unaltered
from sweep.results.verify import verify
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.study import read_summaries
from sweep.study.ranking import rank
from sweep.terminal.console import Screen
from tests.sweep.results.changes import ANSWERS, CHANGES, TABLE, append, remove

REFUSED = {
    "value": "study.db: trial 0.value: 0.5; right: ",
    "intermediate value": "study.db: trial 0.intermediate_values.3: 0.1; right: ",
    "epochs.jsonl, val_loss": "trials/0001/epochs.jsonl: epoch 1: val_loss: 0.5; right: ",
    "manifest, val_loss": "trials/0001/best/step-0003/manifest.json: changed",
    "run.json, versions": "run.json: changed",
    "ranking.json, the best": "ranking.json: changed",
    "winner": f"{TABLE}: changed",
    "accuracy": f"{ANSWERS}: changed",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_changed_run_is_neither_exported_nor_gone_on_with(name: str, copy: Path, tmp_path: Path) -> None:
    paths, out = RunPaths.at(copy), tmp_path / "out"
    CHANGES[name][0](copy)
    for use in (partial(export, paths, "best", out), partial(check_unaltered, paths, ("space.yaml",))):
        with pytest.raises(RunError, match=re.escape(f"run mine was changed since it was written: {REFUSED[name]}")):
            use()
    assert not out.exists()


@pytest.mark.parametrize("name", ["value", "manifest, val_loss", "config, heads 4 to 8", "weights"])
def test_export_looks_without_a_seal_too(name: str, copy: Path, tmp_path: Path) -> None:
    """The changed trial is asked for by its number: the best one of a run is another."""
    remove(SEAL)(copy)
    CHANGES[name][0](copy)
    with pytest.raises(UserError, match=r"was changed since it was written|its SHA-256 is not the one in manifest"):
        export(RunPaths.at(copy), "0" if name == "value" else "1", tmp_path / "out")


def test_what_people_may_do_between_two_commands_is_no_change(copy: Path, tmp_path: Path) -> None:
    """They raise a budget in the space, and remove what takes room."""
    paths = RunPaths.at(copy)
    append("space.yaml")(copy)
    remove("trials/0003")(copy)
    check_unaltered(paths, ("space.yaml",))
    with pytest.raises(RunError, match=re.escape("space.yaml: changed")):
        check_unaltered(paths)


def test_the_best_checkpoint_is_never_replaced_by_a_lesser_one(copy: Path, tmp_path: Path) -> None:
    """Of a trial whose best epoch is gone, the second best is there still."""
    paths = RunPaths.at(copy)
    record = read_record(paths)
    ranked = rank(read_summaries(record.storage_url(paths), record.study))
    evaluation = read_evaluation(paths.evaluation("declared").file)
    winner, best = best_of(paths, ranked, evaluation), best_of(paths, ranked, None)
    number, step = ranked[0].number, ranked[0].standing.best_step
    assert winner is not None and best is not None and winner.gone == best.gone == "" and step is not None
    assert winner.folder is not None and best.folder == paths.trial(number).epoch(step)
    for one, table in ((best, None), (winner, evaluation)):
        assert one.folder is not None
        one.folder.remove()
        again = best_of(paths, ranked, table)
        assert again is not None and again.folder is None
        assert "gone" in again.gone or "missing" in again.gone
        outcome = RunOutcome(paths, ranked, [], table, False, "", gone=again.gone)
        console = Screen(file=io.StringIO(), width=80)
        print_outcome(console, outcome)
        assert isinstance(console.file, io.StringIO)
        said = console.file.getvalue()
        assert outcome.exit_code == 1 and again.gone in said and "take it home" not in said
        assert f"{one.folder}/manifest.json: missing" in {
            f"{paths.root}/{fault.place}: {fault.stored}" for fault in verify(paths, None).faults
        }
    with pytest.raises(RunError, match="gone"):
        export(paths, "best", tmp_path / "out")
    with pytest.raises(RunError, match=f"step-{step:04d}: missing, the best epoch of trial {number}"):
        export(paths, str(number), tmp_path / "out")
    assert f"trial {number}" not in [one.row.name for one in policies(paths, ranked, 2)]
