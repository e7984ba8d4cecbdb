"""The command line as a person uses it: real processes, real Ray, real kills."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from optuna.trial import TrialState

from selector import PointerSelector
from sweep.runs.driver import read_driver
from sweep.runs.paths import RunPaths
from tests.sweep.commands import Command, epochs_done, finish, start, study_of, wait_for, write_space
from tests.sweep.execution.ray.users import IS_ROOT, as_nobody
from tests.sweep.spaces import SMALL

pytestmark = pytest.mark.slow

SECRET = "not-for-any-log-3f9a"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder made by `sweep run`, Ctrl-C and `sweep resume`, and the output of both beside it."""
    folder = tmp_path_factory.mktemp("cli")
    run = folder / "runs" / "mine"
    process = start(folder, "run", str(write_space(folder)), "--name", "mine")
    wait_for(lambda: epochs_done(run) >= 4)
    process.send_signal(signal.SIGINT)
    (folder / "interrupted.txt").write_text(finish(process))
    assert process.returncode == 130 and epochs_done(run) < 24
    assert not (run / "ranking.json").exists()
    process = start(folder, "resume", "mine")
    (folder / "output.txt").write_text(finish(process))
    assert process.returncode == 0, (folder / "output.txt").read_text()
    return run


def test_ctrl_c_stops_after_the_epoch_and_resume_goes_on(finished: Path) -> None:
    output = (finished.parent.parent / "interrupted.txt").read_text()
    assert "python -m sweep resume runs/mine" in output and "Traceback" not in output
    assert "dashboard  none\n" in output, "no test but the dashboard's starts one"
    trials = study_of(finished).trials
    assert len(trials) == 6 and all(trial.state.is_finished() for trial in trials)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert complete and all(list(trial.intermediate_values) == [1, 2, 3, 4, 5] for trial in complete)


def test_run_ends_with_a_table_and_the_folder(finished: Path) -> None:
    output = (finished.parent.parent / "output.txt").read_text()
    for expected in (
        "dashboard  none",
        "metrics    http://127.0.0.1:",
        "Trials by val_loss",
        "run folder: runs/mine",
    ):
        assert expected in output
    for noise in ("INFO", "WARNING", "Traceback", "raylet", "SearchGenerator"):
        assert noise not in output
    assert "SearchGenerator" in (finished / "ray.log").read_text(), "it is in a log of its own"


def test_the_log_has_every_event_with_its_time_and_nothing_of_rays(finished: Path) -> None:
    lines = (finished / "run.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING) ", line) for line in lines), lines
    text = "\n".join(lines)
    assert len(re.findall(r"trial \d starts", text)) == 6 and "SearchGenerator" not in text
    assert text.count("epoch ") >= epochs_done(finished) and "rce epoch 1/5 val_loss" in text
    assert len(re.findall(r"trial \d (complete|pruned)", text)) == 6


def test_a_run_uses_no_loader_that_executes_data(finished: Path) -> None:
    kinds = {
        path.suffix for path in finished.rglob("*") if path.is_file() and "tune" not in path.relative_to(finished).parts
    }
    assert kinds <= {
        ".json",
        ".jsonl",
        ".yaml",
        ".db",
        ".db-wal",
        ".db-shm",
        ".log",
        ".lock",
        ".safetensors",
        ".html",
    } | {path.suffix for path in finished.rglob("events.out.tfevents.*")}


def test_status_of_a_named_run_and_of_none(finished: Path, tmp_path: Path, command: Command) -> None:
    code, out, _ = command("status", "mine", "--runs", str(finished.parent))
    assert not code and "mine: finished\n" in out and "val_loss" in out
    code, _, error = command("status", "nowhere", "--runs", str(finished.parent))
    assert code == 2 and error == f"error: no run 'nowhere'; runs in {finished.parent}: mine\n"
    code, _, error = command("status", "--runs", str(tmp_path))
    assert code == 2 and "no runs in" in error


def test_export_gives_the_trials_picks_with_selector_and_torch_alone(
    finished: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "best"
    code, output, _ = command("export", "mine", "--runs", str(finished.parent), "--out", str(out))
    assert code == 0 and "by val_loss" in output
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "epochs.jsonl",
        "manifest.json",
        "model.safetensors",
    ]
    manifest = json.loads((out / "manifest.json").read_text())
    best = study_of(finished).best_trial
    assert manifest["trial"] == best.number and manifest["step"] == best.user_attrs["standing"]["best_step"]
    assert "best of all complete trials by val_loss" in manifest["chosen"]
    stored = finished / f"trials/{best.number:04d}/best/step-{manifest['step']:04d}"
    generator = torch.Generator().manual_seed(0)
    width = manifest_width = json.loads((out / "config.json").read_text())["selector"]["width"]
    query, pool = torch.randn(3, width, generator=generator), torch.randn(3, 9, manifest_width, generator=generator)
    picks = PointerSelector.from_pretrained(out).select(query, pool, 4)
    assert torch.equal(picks, PointerSelector.from_pretrained(stored).select(query, pool, 4))
    program = (
        "import sys, json, torch\n"
        "for name in 'numpy pydantic safetensors pyarrow ray optuna sweep'.split(): sys.modules[name] = None\n"
        "from selector import PointerSelector\n"
        "g = torch.Generator().manual_seed(0)\n"
        f"q, p = torch.randn(3, {width}, generator=g), torch.randn(3, 9, {width}, generator=g)\n"
        f"print(json.dumps(PointerSelector.from_pretrained({str(out)!r}).select(q, p, 4).tolist()))\n"
    )
    alone = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(alone.stdout) == picks.tolist()


def test_export_of_a_trial_that_is_not_there(finished: Path, tmp_path: Path, command: Command) -> None:
    out = str(tmp_path / "a")
    code, _, error = command("export", "mine", "--runs", str(finished.parent), "--trial", "99", "--out", out)
    assert code == 2 and "has no trial '99': it has 0 to 5" in error


def test_verify_recomputes_every_stored_number(finished: Path, command: Command) -> None:
    code, out, _ = command("verify", "mine", "--runs", str(finished.parent))
    assert code == 0 and out.count("ok") == len(list(finished.glob("trials/*/best/step-*"))) > 0


def test_verify_notices_a_wrong_number(finished: Path, command: Command) -> None:
    file = next(iter(finished.glob("trials/*/best/step-*/manifest.json")))
    original = file.read_text()
    manifest = json.loads(original)
    manifest["metrics"]["val_loss"] += 0.01
    try:
        file.write_text(json.dumps(manifest))
        code, out, _ = command("verify", "mine", "--runs", str(finished.parent))
    finally:
        file.write_text(original)
    assert code == 1 and "manifest.json: metrics.val_loss\n" in out and "differs: 1 place (" in out


@dataclass
class Watched:
    """A sweep without a terminal that runs until the tests have looked at it."""

    run: Path
    driver: int
    urls: dict[str, str]
    temporary: Path


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    trial = {**yaml.safe_load(SMALL)["trial"], "grpo": {"epochs": 4000}}
    space = write_space(folder, trial=trial, budget={"trials": 2})
    temporary = Path(tempfile.mkdtemp(dir="/tmp", prefix="t-"))  # short enough for Ray's sockets
    temporary.chmod(0o777)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        process = start(folder, "run", str(space), "--name", "watched", "--detach", dashboard=True)
    output = finish(process)
    assert process.returncode == 0 and "python -m sweep stop runs/watched" in output, output
    run = folder / "runs" / "watched"
    driver = read_driver(RunPaths.at(run))
    assert driver is not None
    try:
        words = [line.split() for line in output.splitlines()]
        urls = {word[0]: word[1] for word in words if word and word[0] in ("dashboard", "metrics")}
        wait_for(lambda: epochs_done(run) and len(study_of(run).trials) == 2)
        wait_for(lambda: all("worker" in trial.user_attrs for trial in study_of(run).trials))
        yield Watched(run, driver.pid, urls, temporary)
    finally:
        with suppress(ProcessLookupError):
            os.kill(driver.pid, signal.SIGKILL)
        shutil.rmtree(temporary, ignore_errors=True)


def test_a_second_driver_is_refused(watched: Watched, command: Command) -> None:
    code, _, error = command("resume", str(watched.run))
    assert code == 2 and "is being driven by another process" in error


def test_status_of_a_run_that_goes_on(watched: Watched, command: Command) -> None:
    code, watching, _ = command("status", str(watched.run))
    assert code == 0 and "watched: training" in watching and "0 of 2 trials ended (2 running)" in watching
    assert f"driver: process {watched.driver} on this machine" in watching


def test_dashboard_names_and_prometheus(watched: Watched) -> None:
    """While it runs: the dashboard starts, names say run and trial, gauges are at the printed endpoint."""
    dashboard = watched.urls["dashboard"]

    def is_open() -> bool:
        try:
            return "<!doctype html" in fetch(dashboard)
        except OSError:  # it starts as it is asked for the first time, which may take longer than `fetch` waits
            return False

    wait_for(is_open, 60)
    (job,) = [job for job in json.loads(fetch(dashboard + "/api/jobs/")) if job["status"] == "RUNNING"]
    assert job["metadata"] == {"job_name": "sweep watched", "run": "watched"}
    actors = json.loads(fetch(dashboard + "/logical/actors"))["data"]["actors"].values()
    assert {actor["actorClass"] for actor in actors} == {"SweepTrial[watched]"}
    assert {actor["reprName"] for actor in actors} == {"watched/trial-0000", "watched/trial-0001"}
    gauges = ("trials", "epochs_done_total", "kl", "advantage_std", "val_loss")
    expected = [*(f"ray_sweep_{name}{{" for name in gauges), 'run="watched"', 'state="running"']
    wait_for(lambda: all(text in fetch(watched.urls["metrics"]) for text in expected), 60)


def test_no_secret_is_in_a_file_and_nobody_else_gets_at_rays_files(watched: Watched) -> None:
    (private,) = watched.temporary.glob("sweep-????????")
    found = 0
    for file in (file for folder in (private, watched.run) for file in folder.rglob("*") if file.is_file()):
        with suppress(FileNotFoundError):  # the run goes on
            found += 1
            assert SECRET.encode() not in file.read_bytes(), file
    assert found > 20
    assert private.stat().st_mode & 0o777 == 0o700
    token = Path.home() / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600


@IS_ROOT
def test_another_user_of_this_machine_is_kept_out(watched: Watched) -> None:
    (log,) = watched.temporary.glob("sweep-????????/r/session_2*/logs/raylet.out")
    (raylet,) = watched.temporary.glob("sweep-????????/r/session_2*/sockets/raylet")
    assert as_nobody("open(path).read()", log) == "PermissionError"
    assert as_nobody("os.rename(path, path + '-mine')", raylet) == "PermissionError"
    assert as_nobody("open(path).read()", Path.home() / ".ray" / "auth_token") == "PermissionError"


def test_stop_ends_it_as_ctrl_c_does(watched: Watched, command: Command) -> None:
    """Last, since it ends the run. After the running epoch, and `run.log` says how to go on."""
    code, out, _ = command("stop", str(watched.run))
    assert code == 0 and f"is stopped; continue with: python -m sweep resume {watched.run}" in out
    log = watched.run / "run.log"
    wait_for(lambda: "interrupted; continue with: python -m sweep resume runs/watched" in log.read_text())
    code, after, _ = command("status", str(watched.run))
    assert "watched: interrupted" in after and "(2 interrupted)" in after
    wait_for(lambda: not list(watched.temporary.glob("sweep-*")))  # Ray's files go with it


def fetch(url: str) -> str:
    assert url.startswith("http://127.0.0.1:"), "nothing listens beyond this machine"
    token = Path.home() / ".ray" / "auth_token"
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
        return str(response.read().decode())
