"""Selectors on the hub: through the library's own classes, against the small server of `tests/hub.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants

from selector.config import SelectorConfig
from selector.errors import HubError
from selector.hub import HubSelector, push_folder
from selector.model import PointerSelector, build_selector
from selector.tensors import tensor_bytes
from tests.hub import Hub, card_problems, hub_at_home

CONFIG = SelectorConfig(10, 12, 2, 3, "gate", 0.07, 0.2)


@pytest.fixture
def model() -> PointerSelector:
    return build_selector(CONFIG, 3).eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_at_home(monkeypatch, str(tmp_path / "cache")) as server:
        yield server


def assert_equal(one: PointerSelector, other: PointerSelector) -> None:
    assert one.config == other.config
    state = other.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_written_weights_are_those_of_safetensors_to_the_byte(model: PointerSelector, tmp_path: Path) -> None:
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    assert tensor_bytes(state) == safetensors.torch.save(state)
    model.save_pretrained(tmp_path / "made" / "here")
    assert_equal(PointerSelector.from_pretrained(tmp_path / "made" / "here"), model)


def test_the_mixins_folder_is_ours_and_ours_is_the_mixins(model: PointerSelector, tmp_path: Path) -> None:
    HubSelector.of(model).save_pretrained(tmp_path / "theirs")
    model.save_pretrained(tmp_path / "ours")
    assert_equal(PointerSelector.from_pretrained(tmp_path / "theirs"), model)
    found = HubSelector.from_pretrained(tmp_path / "ours")
    assert isinstance(found, HubSelector) and not found.training
    assert_equal(found, model)
    card = (tmp_path / "theirs" / "README.md").read_text()
    assert "library_name: demonstration-selector" in card
    assert card_problems(card) == []


def test_up_and_down_again(model: PointerSelector, hub: Hub) -> None:
    assert model.push_to_hub("me/picker").startswith(f"{hub.url}/me/picker/commit/")
    assert sorted(hub.repos["me/picker"]) == ["README.md", "config.json", "model.safetensors"]
    assert "POST /api/validate-yaml" in hub.calls
    assert_equal(PointerSelector.from_pretrained("me/picker"), model)
    assert_equal(HubSelector.from_pretrained("me/picker"), model)


def test_the_hub_refuses_in_one_line(
    model: PointerSelector, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: whatever I like\n---\nMine.\n")

    def offline() -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        model.push_to_hub("me/picker")

    for use, reason in (
        (lambda: PointerSelector.from_pretrained("me/nothing"), "no folder here, .* no such repository"),
        (lambda: push_folder(tmp_path, "me/picker", "mine"), "refused .*license must be one of"),
        (lambda: model.push_to_hub("not a name"), "no name of a repository"),
        (offline, "HF_HUB_OFFLINE is set"),
    ):
        with pytest.raises(HubError, match=reason) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_without_the_library_one_line_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "selector.hub", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r"no such folder here, .* `pip install huggingface_hub`"):
        PointerSelector.from_pretrained("me/nothing")
