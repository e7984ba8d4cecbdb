"""The command line as a person uses it: real processes, real Ray, real kills."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch
import yaml
from optuna.trial import TrialState

from selector import PointerSelector
from sweep.cli import main
from tests.sweep.spaces import SMALL

pytestmark = pytest.mark.slow
ON_RAY = ("run", "resume", "evaluate", "collect")


def write_space(folder: Path, **changes: object) -> Path:
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(SMALL), **changes}))
    return file


def start(folder: Path, command: str, *arguments: str, dashboard: bool = False) -> subprocess.Popen[str]:
    options = ["--no-dashboard"] if command in ON_RAY and not dashboard else []
    line = [sys.executable, "-m", "sweep", command, *arguments, *options]
    return subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], seconds: float = 120) -> str:
    return process.communicate(timeout=seconds)[0]


def stop_at_once(process: subprocess.Popen[str]) -> None:
    """Ctrl-C twice."""
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    finish(process)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def study_of(run: Path) -> optuna.Study:
    return optuna.load_study(study_name=run.name, storage=f"sqlite:///{run / 'study.db'}")


def epochs_done(run: Path) -> int:
    if not (run / "study.db").exists():
        return 0
    with sqlite3.connect(f"file:{run / 'study.db'}?mode=ro", uri=True) as database:
        try:
            return int(database.execute("select count(*) from trial_intermediate_values").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """The command line in this process."""
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder made by `python -m sweep run`, and its output beside it."""
    folder = tmp_path_factory.mktemp("cli")
    process = start(folder, "run", str(write_space(folder)), "--name", "mine", dashboard=True)
    output = finish(process)
    (folder / "output.txt").write_text(output)
    assert process.returncode == 0, output
    return folder / "runs" / "mine"


def test_run_ends_with_a_table_and_the_folder(finished: Path) -> None:
    output = (finished.parent.parent / "output.txt").read_text()
    for expected in (
        "dashboard  http://127.0.0.1:",
        "metrics    http://127.0.0.1:",
        "Trials by val_loss",
        "run folder: runs/mine",
    ):
        assert expected in output
    for noise in ("INFO", "WARNING", "Traceback", "raylet", "SearchGenerator"):
        assert noise not in output
    assert "SearchGenerator" in (finished / "run.log").read_text(), "it is in the log"


def test_a_run_uses_no_loader_that_executes_data(finished: Path) -> None:
    kinds = {
        path.suffix for path in finished.rglob("*") if path.is_file() and "tune" not in path.relative_to(finished).parts
    }
    assert kinds <= {".json", ".jsonl", ".yaml", ".db", ".db-wal", ".db-shm", ".log", ".lock", ".safetensors"} | {
        path.suffix for path in finished.rglob("events.out.tfevents.*")
    }


def test_status_from_another_process(finished: Path) -> None:
    process = start(finished.parent.parent, "status")
    output = finish(process)
    assert process.returncode == 0 and "mine: finished; " in output and "val_loss" in output


def test_status_of_a_named_run_and_of_none(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep", "status", "mine", "--runs", str(finished.parent)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code and "mine: finished" in capsys.readouterr().out
    code, _, error = call(capsys, monkeypatch, "status", "nowhere", "--runs", str(finished.parent))
    assert code == 2 and error == f"error: no run 'nowhere'; runs in {finished.parent}: mine\n"
    code, _, error = call(capsys, monkeypatch, "status", "--runs", str(tmp_path))
    assert code == 2 and "no runs in" in error


def test_export_gives_the_trials_picks_with_selector_and_torch_alone(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "best"
    code, output, _ = call(capsys, monkeypatch, "export", "mine", "--runs", str(finished.parent), "--out", str(out))
    assert code == 0 and "by val_loss" in output
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "manifest.json",
        "model.safetensors",
    ]
    manifest = json.loads((out / "manifest.json").read_text())
    best = study_of(finished).best_trial
    assert manifest["trial"] == best.number and manifest["step"] == best.user_attrs["best_step"]
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


def test_export_refuses_clearly(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = ("--runs", str(finished.parent))
    code, _, error = call(capsys, monkeypatch, "export", "mine", *runs, "--trial", "99", "--out", str(tmp_path / "a"))
    assert code == 2 and "has no trial '99': it has 0 to 5" in error
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    code, _, error = call(capsys, monkeypatch, "export", "mine", *runs, "--out", str(tmp_path / "full"))
    assert code == 2 and "is not an empty folder" in error and (tmp_path / "full" / "file").exists()


def test_an_altered_checkpoint_is_not_exported(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    best = study_of(finished).best_trial
    weights = (
        next((finished / f"trials/{best.number:04d}/best").glob(f"step-*{best.user_attrs['best_step']}"))
        / "model.safetensors"
    )
    original = weights.read_bytes()
    try:
        weights.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        code, _, error = call(
            capsys, monkeypatch, "export", "mine", "--runs", str(finished.parent), "--out", str(tmp_path / "best")
        )
    finally:
        weights.write_bytes(original)
    assert code == 2 and "altered or damaged" in error and not (tmp_path / "best").exists()


def test_verify_recomputes_every_stored_number(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, "verify", "mine", "--runs", str(finished.parent))
    assert code == 0 and out.count("ok") == len(list(finished.glob("trials/*/best/step-*"))) > 0


def test_verify_notices_a_wrong_number(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = next(iter(finished.glob("trials/*/best/step-*/manifest.json")))
    original = file.read_text()
    manifest = json.loads(original)
    manifest["metrics"]["val_loss"] += 0.01
    try:
        file.write_text(json.dumps(manifest))
        code, out, _ = call(capsys, monkeypatch, "verify", "mine", "--runs", str(finished.parent))
    finally:
        file.write_text(original)
    assert code == 1 and out.count("differs") == 1


@pytest.mark.long
def test_a_killed_driver_resumes_to_the_undisturbed_run(tmp_path: Path) -> None:
    folders = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        folders.append(folder / "runs" / "small-1")
        process = start(folder, "run", str(write_space(folder, concurrency=1)))
        if name == "killed":
            wait_for(lambda: epochs_done(folders[-1]) >= 12)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
            assert any(trial.state is TrialState.RUNNING for trial in study_of(folders[-1]).trials)
            process = start(folder, "resume", str(folders[-1]))
        output = finish(process)
        assert process.returncode == 0, output
    first, second = (study_of(folder).trials for folder in folders)
    assert [(t.number, t.params, t.state, t.intermediate_values, t.value) for t in first] == [
        (t.number, t.params, t.state, t.intermediate_values, t.value) for t in second
    ]


@pytest.mark.long
def test_a_killed_worker_costs_nothing_but_time(tmp_path: Path) -> None:
    space = write_space(tmp_path, concurrency=1, budget={"trials": 2}, trial={
        **yaml.safe_load(SMALL)["trial"], "grpo": {"epochs": 60}
    }, pruner={"type": "none"})  # fmt: skip
    process = start(tmp_path, "run", str(space))
    run = tmp_path / "runs" / "small-1"
    wait_for(lambda: epochs_done(run) >= 10)
    worker = study_of(run).trials[0].user_attrs["worker"]
    os.kill(int(worker.split()[1]), signal.SIGKILL)
    output = finish(process)
    assert process.returncode == 0, output
    trial = study_of(run).trials[0]
    assert trial.state is TrialState.COMPLETE and trial.user_attrs["worker"] != worker
    assert trial.user_attrs["worker_deaths"] == 1
    assert list(trial.intermediate_values) == list(range(1, 63))


def test_a_trial_whose_workers_keep_dying_fails_and_the_sweep_goes_on(tmp_path: Path) -> None:
    trial = {**yaml.safe_load(SMALL)["trial"], "grpo": {"epochs": 150}}
    space = write_space(
        tmp_path, concurrency=1, trial=trial, max_retries=1, budget={"trials": 2}, pruner={"type": "none"}
    )
    process = start(tmp_path, "run", str(space))
    run = tmp_path / "runs" / "small-1"
    seen: set[str] = set()

    def new_worker() -> str | None:
        if epochs_done(run) < 3:
            return None
        worker = study_of(run).trials[0].user_attrs.get("worker")
        return worker if worker not in seen else None

    for _ in range(2):
        wait_for(new_worker)
        worker = study_of(run).trials[0].user_attrs["worker"]
        seen.add(worker)
        os.kill(int(worker.split()[1]), signal.SIGKILL)
    output = finish(process)
    assert process.returncode == 0, output
    first, second = study_of(run).trials
    assert first.state is TrialState.FAIL and first.user_attrs["reason"].startswith("its worker died 2 times")
    assert second.state is TrialState.COMPLETE


def test_ctrl_c_stops_after_the_epoch_and_resume_goes_on(tmp_path: Path) -> None:
    trial = {**yaml.safe_load(SMALL)["trial"], "grpo": {"epochs": 40}}
    space = write_space(tmp_path, trial=trial, budget={"trials": 2}, pruner={"type": "none"})
    process = start(tmp_path, "run", str(space))
    run = tmp_path / "runs" / "small-1"
    wait_for(lambda: epochs_done(run) >= 8)
    process.send_signal(signal.SIGINT)
    output = finish(process)
    assert process.returncode == 130 and "python -m sweep resume runs/small-1" in output
    assert not (run / "ranking.json").exists()
    process = start(tmp_path, "resume")
    output = finish(process)
    assert process.returncode == 0, output
    assert [trial.state for trial in study_of(run).trials] == [TrialState.COMPLETE] * 2


def test_two_drivers_on_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = {**yaml.safe_load(SMALL)["trial"], "grpo": {"epochs": 300}}
    process = start(tmp_path, "run", str(write_space(tmp_path, trial=trial)), "--name", "one")
    try:
        wait_for(lambda: epochs_done(tmp_path / "runs" / "one") >= 1)
        second = start(tmp_path, "resume", "one")
        output = finish(second)
        assert second.returncode == 2 and "is being driven by another process" in output
        code, watching, _ = call(capsys, monkeypatch, "status", "one", "--runs", str(tmp_path / "runs"))
        assert code == 0 and "one: not finished" in watching and "running" in watching
    finally:
        stop_at_once(process)


def test_dashboard_names_and_prometheus(tmp_path: Path) -> None:
    """While it runs: the dashboard answers, names say run and trial, gauges are at the printed endpoint."""
    trial = {**yaml.safe_load(SMALL)["trial"], "grpo": {"epochs": 2000}}
    space = write_space(tmp_path, trial=trial, budget={"trials": 2})
    process = start(tmp_path, "run", str(space), "--name", "watched", dashboard=True)
    try:
        urls: dict[str, str] = {}
        assert process.stdout is not None
        for line in process.stdout:
            word = line.split()
            if word and word[0] in ("dashboard", "metrics"):
                urls[word[0]] = word[1]
            if "trial   1 starts" in line:
                break
        wait_for(lambda: all("worker" in trial.user_attrs for trial in study_of(tmp_path / "runs" / "watched").trials))
        assert "<!doctype html" in fetch(urls["dashboard"])
        (job,) = [job for job in json.loads(fetch(urls["dashboard"] + "/api/jobs/")) if job["status"] == "RUNNING"]
        assert job["metadata"] == {"job_name": "sweep watched", "run": "watched"}
        actors = json.loads(fetch(urls["dashboard"] + "/logical/actors"))["data"]["actors"].values()
        assert {actor["actorClass"] for actor in actors} == {"SweepTrial[watched]"}
        assert {actor["reprName"] for actor in actors} == {"watched/trial-0000", "watched/trial-0001"}
        gauges = ("trials", "epochs_done_total", "kl", "advantage_std", "val_loss")
        expected = [*(f"ray_sweep_{name}{{" for name in gauges), 'run="watched"', 'state="running"']
        wait_for(lambda: all(text in fetch(urls["metrics"]) for text in expected), 60)
    finally:
        stop_at_once(process)


def fetch(url: str) -> str:
    assert url.startswith("http://127.0.0.1:"), "nothing listens beyond this machine"
    token = Path.home() / ".ray" / "auth_token"
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
        return str(response.read().decode())
