"""A step that fails, hangs or takes its process down costs itself alone; a cut-off keeps what is done."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_check import supervisor
from benchmarks.gpu_check.record import append, read
from benchmarks.gpu_check.supervisor import Group, supervise
from benchmarks.gpu_check.wheels import ROOT

CHILD = """
import json, os, sys, time
for step in sys.argv[2:]:
    if step == "hangs":
        time.sleep(60)
    if step == "dies":
        os._exit(7)
    line = {"step": step, "error": "E"} if step == "raises" else {"step": step, "result": {"pid": os.getpid()}}
    with open(sys.argv[1], "a") as file:
        file.write(json.dumps(line) + "\\n")
    if step == "raises":
        sys.exit(1)
"""


def supervised(file: Path, groups: Sequence[Mapping[str, float]], budget: float = 60) -> tuple[int, list[str]]:
    said: list[str] = []
    file.touch()
    failed = supervise(
        [Group("fake", seconds) for seconds in groups],
        lambda _, steps: [sys.executable, "-c", CHILD, str(file), *steps],
        file,
        budget,
        said.append,
    )
    return failed, said


def test_a_step_that_fails_dies_or_hangs_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "START", 20.0)
    file = tmp_path / "lines"
    bounds = {"a": 30, "raises": 30, "b": 30, "dies": 30, "c": 30, "hangs": 0.2, "d": 30}
    failed, said = supervised(file, [bounds, {"e": 30}])
    lines = read(file)
    assert [line["step"] for line in lines] == [*bounds, "e"]
    assert failed == 3 and len(said) == 8
    errors = {line["step"]: line["error"] for line in lines if "error" in line}
    assert errors == {"raises": "E", "dies": "its process ended with code 7", "hangs": "took too long"}
    assert len({line["result"]["pid"] for line in lines if "result" in line}) == 5  # a new process after each


def test_what_has_no_time_left_is_not_begun(tmp_path: Path) -> None:
    failed, _ = supervised(tmp_path / "lines", [{"hangs": 30, "b": 30}, {"c": 30}], budget=0.5)
    assert failed == 3
    errors: list[Any] = [line["error"] for line in read(tmp_path / "lines")]
    assert errors == ["took too long", "not begun: no time was left", "not begun: no time was left"]


def test_a_cut_off_run_keeps_what_is_done_and_leaves_no_process(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "lines"
    what = ["--device", "cpu", "--size", "tiny", "--only", "machine", "goldens", "fp32_demo"]
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--out", str(file), *what]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and (not file.exists() or len(read(file)) < 2):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    lines = read(file)
    assert "header" in lines[0] and lines[1]["step"] == "machine" and "result" in lines[1]
    assert "fp32_demo" not in [line.get("step") for line in lines]
    time.sleep(0.2)
    assert str(file) not in subprocess.run(["ps", "axww", "-o", "command"], capture_output=True, text=True).stdout


def test_half_a_line_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    append(file, {"step": "a", "result": {}})
    with file.open("a") as stream:
        stream.write('{"step": "b", "res')
    assert [line["step"] for line in read(file)] == ["a"]
