"""What the service asks for, without Ray."""

from sweep.settings.vlm import VlmSettings
from sweep.vlm.service import _pinned

SETTINGS = VlmSettings.model_validate(
    {"model": {"path": "owner/name", "revision": "main"}, "prompt": {"layout": "one_turn"}, "workers": {"batch": 7}}
)


def test_workers_load_the_commit_that_the_keys_stand_for() -> None:
    pinned = _pinned(SETTINGS, "owner/name@" + "d" * 40)
    assert pinned.model.revision == "d" * 40
    assert pinned.model_dump(exclude={"model"}) == SETTINGS.model_dump(exclude={"model"})


def test_a_folder_has_no_commit() -> None:
    assert _pinned(SETTINGS, "sha256:" + "d" * 64) is SETTINGS
