"""What a space names: what travels, what must be on the cluster, and what the hub has."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sweep.errors import SpaceError
from sweep.space import parse_space
from sweep.space.search_space import SearchSpace
from sweep.submission.contents import Named, contents_of
from tests.sweep.spaces import SMALL


def space_with(**sections: object) -> SearchSpace:
    return parse_space(yaml.safe_dump({**yaml.safe_load(SMALL), **sections}), "space.yaml")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rl_data.json").write_text("[]")
    return tmp_path


def test_relative_paths_travel_and_absolute_ones_are_there(here: Path) -> None:
    space = space_with(data={"path": "data", "embeddings": "/data/embeddings.pth"}, init_from="~/best")
    found = contents_of(space, [])
    assert found.travelling == (Named("data.path", "data"),)
    assert set(found.there) == {Named("data.embeddings", "/data/embeddings.pth"), Named("init_from", "~/best")}


def test_models_of_the_hub_are_fetched_by_the_nodes(here: Path) -> None:
    shown = yaml.safe_load(Path(__file__).parents[3].joinpath("search_spaces/grpo.yaml").read_text())
    shown["vlm"]["model"] = {"path": "Qwen/Qwen2.5-VL-3B-Instruct"}
    space = parse_space(yaml.safe_dump(shown), "space.yaml")
    assert contents_of(space, []).fetched == (Named("vlm.model", "Qwen/Qwen2.5-VL-3B-Instruct"),)
    (here / "Qwen/Qwen2.5-VL-3B-Instruct").mkdir(parents=True)
    assert contents_of(space, []).travelling == (Named("vlm.model", "Qwen/Qwen2.5-VL-3B-Instruct"),)


def test_an_option_stands_for_the_section_that_it_replaces(here: Path) -> None:
    space = space_with(data={"path": "nowhere"})
    found = contents_of(space, [Named("--data", "data")], replaced=("data",))
    assert found.travelling == (Named("--data", "data"),)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere", r"data\.path: 'nowhere' does not exist here.*travels; an absolute one"),
        ("../data", r"data\.path: '\.\./data' cannot travel.*absolute path"),
        ("sweep/x", r"cannot travel"),
        (".", r"cannot travel"),
    ],
)
def test_what_cannot_travel_is_refused(here: Path, path: str, reason: str) -> None:
    with pytest.raises(SpaceError, match=reason):
        contents_of(space_with(data={"path": path}), [])
