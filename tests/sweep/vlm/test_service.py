"""What the service asks for, without Ray."""

from pathlib import Path

import pytest

from sweep.settings.vlm import DEMO_MODEL, ModelSettings
from sweep.vlm.keys import pinned

SETTINGS = ModelSettings(path="owner/name", revision="main")


def test_workers_load_the_commit_that_the_keys_stand_for() -> None:
    assert pinned(SETTINGS, "owner/name@" + "d" * 40) == SETTINGS.replace(revision="d" * 40)


def test_workers_find_a_relative_folder_from_wherever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models/vlm").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = pinned(ModelSettings(path="models/vlm"), "sha256:" + "d" * 64)
    assert found == ModelSettings(path=str(tmp_path / "models/vlm"))


def test_the_demo_model_ships_with_every_worker() -> None:
    assert pinned(ModelSettings(path=DEMO_MODEL), "sha256:" + "d" * 64).path == DEMO_MODEL
