"""The way to the driver's machine through Ray: an actor that may die, and whose files are there all the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from sweep.execution.ray.home import open_home
from sweep.storage.home import HomePath
from sweep.storage.home_lock import HomeLock
from sweep.storage.local import stored_at
from sweep.storage.outage import is_outage
from sweep.trials.checkpoints import read_checkpoint, write_checkpoint

MANIFEST = {"kind": "resume", "epoch": 1, "numbers": {}, "history": []}


def state(megabytes: int) -> dict[str, torch.Tensor]:
    return {"weights": torch.arange(megabytes * 2**18, dtype=torch.float32)}


def test_what_is_asked_for_while_the_actor_dies_is_done_all_the_same(
    ray_session: None, tmp_path: Path, cache: Path
) -> None:
    import ray

    home = open_home(stored_at(tmp_path / "mine"), "mine")
    folder = HomePath.open(home)
    write_checkpoint(folder / "resume/step-0001", state(4), MANIFEST)  # through the object store: it is large
    lock = (folder / "warm-up.lock").lock()
    assert isinstance(lock, HomeLock)
    lock.acquire()
    ray.kill(home.actor, no_restart=False)
    write_checkpoint(folder / "resume/step-0002", state(4), MANIFEST)
    for step in (1, 2):
        tensors, _ = read_checkpoint(stored_at(tmp_path / f"mine/resume/step-000{step}"))
        assert torch.equal(tensors["weights"], state(4)["weights"])
        assert torch.equal(read_checkpoint(folder / f"resume/step-000{step}")[0]["weights"], state(4)["weights"])
    with (folder / "warm-up.lock").lock():  # it went with the actor, and its holder is told
        assert not home.ask("beat", "warm-up.lock", lock._token)
    lock.release()

    ray.kill(home.actor)
    began = time.monotonic()
    with pytest.raises(OSError, match="the driver's machine cannot be reached through Ray") as error:
        (folder / "file").write_text("1")
    assert is_outage(error.value) and time.monotonic() - began < 30
