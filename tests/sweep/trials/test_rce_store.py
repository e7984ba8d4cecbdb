"""The shared warm-up under competition: several processes, and a trainer that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sweep.storage.local import stored_at
from sweep.trials.checkpoints import read_manifest

PROGRAM = """
    import sys, time
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    from selector.training import rce
    from tests.sweep.spaces import context, small_dataset, trial

    folder, number, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    run_epoch = rce.RceStage._run_epoch

    def slow(self):
        (folder / f"epochs-{number}").open("a").write("x")
        time.sleep(pause)
        return run_epoch(self)

    rce.RceStage._run_epoch = slow
    dataset = small_dataset()
    results = list(trial(context(folder, dataset), dataset, number))
    (folder / f"done-{number}").write_text(str(results[-1].report.val_loss))
"""


def start(folder: Path, number: int, pause: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder), str(number), str(pause)]
    root = Path(__file__).resolve().parents[3]
    return subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})


def epochs(folder: Path) -> list[int]:
    return [len(file.read_text()) for file in sorted(folder.glob("epochs-*"))]


def test_wanted_at_the_same_moment_it_is_trained_once(tmp_path: Path) -> None:
    workers = [start(tmp_path, number, 0.2) for number in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert epochs(tmp_path) == [3], "one trainer, three epochs"
    assert len({(tmp_path / f"done-{number}").read_text() for number in range(3)}) == 1


def test_a_killed_trainer_hands_over(tmp_path: Path) -> None:
    first = start(tmp_path, 0, 1.0)
    deadline = time.monotonic() + 60
    while not (tmp_path / "epochs-0").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    second = start(tmp_path, 1, 0.0)
    time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert second.wait(60) == 0
    assert (tmp_path / "done-1").exists() and not (tmp_path / "done-0").exists()
    (artifact,) = [path for path in (tmp_path / "rce").iterdir() if path.is_dir()]
    assert len(read_manifest(stored_at(artifact))["reports"]) == 3


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": "other"}'])
def test_a_damaged_manifest_is_a_clear_error(tmp_path: Path, damage: bytes) -> None:
    from selector.errors import CheckpointError

    (tmp_path / "manifest.json").write_bytes(damage)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        read_manifest(stored_at(tmp_path))
