"""Removing runs: what goes, what stays, and what a kill leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sweep.errors import RunError
from sweep.results.listing import list_runs
from sweep.results.removal import REMOVED, plan_removal, remove_leftovers, remove_runs
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from sweep.storage.open import open_folder
from tests.sweep.commands import Command
from tests.sweep.trees import tree


@pytest.fixture
def runs(copy: Path) -> Path:
    """`mine` and `other`, which share everything. A stand-in for answers: the rule stores none."""
    folder = copy.parent
    (folder / "_shared" / "answers").mkdir()
    (folder / "_shared" / "answers" / "part-1.parquet").write_bytes(b"x" * 100)
    (folder / "other").mkdir()
    for name in ("run.json", "space.yaml"):
        shutil.copyfile(copy / name, folder / "other" / name)
    return folder


def edit(run: Path, **values: object) -> None:
    record = json.loads((run / "run.json").read_text())
    space = {**record["space"], **values.pop("space", {})}  # type: ignore[dict-item]
    (run / "run.json").write_text(json.dumps({**record, "space": space, **values}))


def kinds(removal: object) -> list[str]:
    return [part.folder.path.relative_to(part.folder.path.parents[1]).parts[0] for part in removal.orphans]  # type: ignore[attr-defined]


def test_what_others_need_stays_and_the_rest_goes_only_when_asked(runs: Path, command: Command) -> None:
    shared = tree(runs / "_shared")
    first = plan_removal([RunPaths.at(runs / "mine")])
    assert {part.needed_by for part in first.shared} == {("other",)} and len(first.shared) == 3 and not first.orphans
    code, out, _ = command("runs", "rm", "mine", "--dry-run", "--runs", str(runs))
    assert code == 0 and out.startswith(f"remove {runs}/mine (") and "other may need it" in out
    assert (runs / "mine" / "run.json").exists()
    code, _, error = command("runs", "rm", "mine", "--runs", str(runs))
    assert code == 2 and "say --yes" in error and (runs / "mine").exists()
    assert command("runs", "rm", "mine", "--yes", "--shared", "--runs", str(runs))[0] == 0
    assert [row.paths.name for row in list_runs(stored_at(runs))] == ["other"] and tree(runs / "_shared") == shared
    code, out, _ = command("runs", "rm", "other", "--yes", "--runs", str(runs))
    assert code == 0 and "--shared removes it, too" in out and tree(runs / "_shared") == shared


def test_what_no_remaining_run_needs_is_found_out(runs: Path) -> None:
    """One run on other data, of another world, that asks no model; and then one of which nothing can be known."""
    mine, other = RunPaths.at(runs / "mine"), runs / "other"
    world = {"demo": {"demonstrations": 210, "train": 40, "val": 16, "test": 40, "concepts": 16}}
    edit(other, data=f"{runs}/_shared/data/0123456789abcdef", space={"vlm": None, "items": world})
    removal = plan_removal([mine])
    assert sorted(kinds(removal)) == ["_shared", "data", "items"]
    edit(other, data=None, space={"collect": {}})
    assert not plan_removal([mine]).orphans, "what it will collect may be there already"
    (other / "run.json").write_text("{")
    assert not plan_removal([mine]).orphans, "it cannot be read"
    remove_runs(removal, removal.orphans)
    assert sorted(path.name for path in runs.iterdir()) == ["_shared", "other", "world.yaml"]
    assert not [path for path in (runs / "_shared").rglob("*") if path.is_file()]


def test_nothing_outside_and_no_link(runs: Path, tmp_path: Path) -> None:
    """The record of `mine` names data elsewhere, and what it shares are links."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    (runs / "_shared" / "data" / "precious").symlink_to(precious)
    shutil.rmtree(runs / "_shared" / "items")
    (runs / "_shared" / "items").symlink_to(precious)
    shutil.rmtree(runs / "other")
    edit(runs / "mine", data=str(precious))
    (runs / "mine" / "link").symlink_to(precious)
    removal = plan_removal([RunPaths.at(runs / "mine")])
    assert kinds(removal) == ["_shared"], "the answers alone"
    remove_runs(removal, removal.orphans)
    assert (precious / "file").exists() and not (runs / "mine").exists()
    (runs / "linked").symlink_to(precious)
    (precious / "run.json").write_text("{}")
    with pytest.raises(RunError, match="is a link to"):
        plan_removal([RunPaths.at(runs / "linked")])
    with pytest.raises(RunError, match="no run of ours"):
        plan_removal([RunPaths.at(precious)])


def test_a_run_that_is_driven_is_refused_at_any_moment(runs: Path) -> None:
    mine, other = RunPaths.at(runs / "mine"), RunPaths.at(runs / "other")
    removal = plan_removal([other, mine, other])
    assert len(removal.runs) == 2
    with mine.lock_file.lock():
        with pytest.raises(RunError, match=r"run mine is running; end it first with `python -m sweep stop"):
            plan_removal([mine])
        with pytest.raises(RunError, match="run mine is running"):
            remove_runs(removal)
    assert other.run_file.exists() and mine.run_file.exists(), "all or none"


def test_a_kill_in_the_middle(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removal = plan_removal([RunPaths.at(runs / "mine")])

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        remove_runs(removal)
    assert [row.paths.name for row in list_runs(stored_at(runs))] == ["other"]
    assert len(list(runs.glob(f"{REMOVED}mine-*"))) == 1
    remove_leftovers(stored_at(runs))
    assert not list(runs.glob(".*"))


def test_a_run_that_is_kept_elsewhere(runs: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a folder cannot be renamed: a kill leaves one that is in no list, and that the next removal takes away."""
    (runs / "mine" / "driver.lock").unlink()  # elsewhere it is a lease
    folder = open_folder(f"local://{runs}")
    mine = RunPaths(folder / "mine")
    removal = plan_removal([mine])

    def killed(self: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        remove = type(folder).remove
        patch.setattr(type(folder), "remove", lambda self: killed(self) if self.name == "mine" else remove(self))
        remove_runs(removal)
    assert [row.paths.name for row in list_runs(folder)] == ["other"] and (runs / "mine" / "space.yaml").exists()
    remove_leftovers(folder)
    assert not (runs / "mine" / "space.yaml").exists()
