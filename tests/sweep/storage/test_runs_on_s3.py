"""A run on an S3 server, as a person uses it: real processes, a real kill, and nothing left but the address.

The chaos test (`tests/chaos`, mode s3) kills every kind of process there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from sweep.runs.paths import RunPaths, TrialPaths
from sweep.storage.location import Location
from sweep.storage.remote_files import RemoteFiles
from tests.s3 import S3Server
from tests.sweep.commands import ALONE, Ran, call, curves, finish, start, study_of, wait_for, write_space

pytestmark = pytest.mark.slow
TRIALS = 4


def seen(store: RemoteFiles, folder: Path, query: str) -> list[Any]:
    """First column of what the study holds for everybody who looks from elsewhere; nothing without a study."""
    content = store.read("mine/study.db")
    if content is None:
        return []
    file = folder / "seen.db"
    file.write_bytes(content)
    with sqlite3.connect(file) as database:
        return [row[0] for row in database.execute(query)]


def epochs_stored(store: RemoteFiles, folder: Path) -> int:
    return len(seen(store, folder, "select * from trial_intermediate_values"))


def at_work(store: RemoteFiles, folder: Path) -> list[int]:
    """The processes of the trials that run."""
    attributes = "trial_user_attributes join trials using (trial_id)"
    query = f"select value_json from {attributes} where key = 'worker' and state = 'RUNNING'"
    return [int(json.loads(worker).split()[1]) for worker in seen(store, folder, query)]


def hashes(run: Path) -> dict[str, str]:
    files = [*run.glob("trials/*/best/step-*/manifest.json"), *run.glob("rce/*/manifest.json")]
    return {str(file.relative_to(run)): json.loads(file.read_bytes())["sha256"] for file in files}


def losses(trial: TrialPaths) -> list[float]:
    return [json.loads(line)["val_loss"] for line in trial.history_file.read_text().splitlines()]


@pytest.mark.long  # each part of it has shorter tests: snapshots, the lease, remote files, and storage as a whole
def test_a_killed_driver_resumes_from_the_address_alone(
    s3: S3Server,
    undisturbed: Ran,
    tmp_path: Path,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = undisturbed.paths.root.local()
    runs = s3.folder("runs")
    store = RemoteFiles.open(Location.of(runs))
    process = start(tmp_path, "run", str(write_space(tmp_path, **ALONE)), "--name", "mine", "--runs", runs)
    wait_for(lambda: epochs_stored(store, tmp_path) >= 7 and at_work(store, tmp_path), seconds=120)

    [worker] = at_work(store, tmp_path)
    os.kill(worker, signal.SIGSTOP)  # or a quick machine is done before the second driver is refused
    try:
        code, _, refused = call(capsys, monkeypatch, "resume", f"{runs}/mine")
        assert code == 2 and "is being driven by another process" in refused
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    finally:
        os.kill(worker, signal.SIGKILL)  # frozen, it does not notice that its driver is gone
    assert 7 <= epochs_stored(store, tmp_path) < 20
    shutil.rmtree(cache)

    process = start(tmp_path, "resume", "--runs", runs)  # the newest
    output = finish(process)
    assert process.returncode == 0, output
    assert f"run folder: {runs}/mine" in output and str(cache) not in output
    copy = tmp_path / "copy"
    copy.mkdir()
    fs.copy_files(runs, str(copy))
    assert curves(study_of(copy / "mine")) == curves(study_of(whole))
    assert hashes(copy / "mine") == hashes(whole)
    assert not list(copy.glob("mine/trials/*/resume/*/manifest.json")) and not (copy / "mine/driver.lock").exists()
    assert not [file for file in copy.rglob("*") if file.name.startswith(".")]
    for number in range(TRIALS):
        paths = (RunPaths.at(copy / "mine").trial(number), RunPaths.at(whole).trial(number))
        assert losses(paths[0]) == losses(paths[1])
        assert paths[0].events_folder.glob("*")

    code, out, _ = call(capsys, monkeypatch, "status", f"{runs}/mine")
    assert code == 0 and "mine: finished\n" in out
    code, out, _ = call(capsys, monkeypatch, "export", f"{runs}/mine", "--out", str(tmp_path / "best"))
    assert code == 0 and "trial" in out
    best = study_of(whole).best_trial
    wanted = f"trials/{best.number:04d}/best/step-{best.user_attrs['standing']['best_step']:04d}/manifest.json"
    assert json.loads((tmp_path / "best" / "manifest.json").read_bytes())["sha256"] == hashes(whole)[wanted]
    code, out, _ = call(capsys, monkeypatch, "verify", f"{runs}/mine")
    assert code == 0 and out.count("ok") >= TRIALS, out
    code, _, error = call(capsys, monkeypatch, "run", str(tmp_path / "space.yaml"), "--name", "mine", "--runs", runs)
    assert code == 2 and error.startswith(f"error: run 'mine' exists in {runs}")
