"""Whether a space and its data fit each other is known before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from selector.data import DataSettings, Split, load
from selector.errors import UserError
from sweep.plan.make import make_plan
from sweep.plan.requests import request_of_space
from sweep.runs.paths import SharedPaths
from sweep.storage.local import stored_at
from tests.selector.data.builders import rl_data, store
from tests.sweep.commands import write_space


def planned(space: Path, data: Path | None = None, embeddings: Path | None = None) -> None:
    make_plan(request_of_space(str(space), SharedPaths(stored_at(space.parent / "shared")), data, embeddings))


LEGACY = {"type": "categorical", "choices": ["hard_plus_soft", "legacy"]}


@pytest.mark.parametrize(
    "changes",
    [{"trial": {"reward": {"mode": "legacy"}}}, {"trial": {}, "parameters": {"reward.mode": LEGACY}}],
    ids=["fixed", "swept"],
)
def test_a_reward_without_its_outcome(changes: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^demo data: reward mode legacy needs beam_score"):
        planned(write_space(tmp_path, **{"parameters": {}} | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"trial": {"train_queries": 100_000}},
        {"trial": {}, "parameters": {"train_queries": {"type": "int", "low": 10, "high": 100_000}}},
        {"trial": {}, "parameters": {"train_queries": {"type": "categorical", "choices": [0.5, 100_000]}}},
    ],
    ids=["fixed", "swept", "a choice"],
)
def test_more_training_queries_than_there_are(changes: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^train_queries \d+ is more than the \d+ queries of the train split"):
        planned(write_space(tmp_path, **{"parameters": {}} | changes))


def test_a_validation_without_its_outcome(tmp_path: Path) -> None:
    data = rl_data()
    for query in data.values():
        for beam in query["pointer_candidates"]:
            del beam["vqa_correct"]
    store(tmp_path / "data", data)
    with pytest.raises(UserError, match="data: reward mode hard_plus_soft needs vqa_correct"):
        planned((write_space(tmp_path)), tmp_path / "data")


def test_a_validation_split_whose_beams_are_all_alike(tmp_path: Path) -> None:
    data = rl_data()
    found = load(DataSettings(path=store(tmp_path / "data", data)))
    for query in found.query_items[found.indices(Split.VAL)]:
        for beam in data[str(query)]["pointer_candidates"]:
            beam |= {"vqa_correct": 0, "vqa_acc_score": 0.0}
    store(tmp_path / "data", data)
    with pytest.raises(UserError, match=r"no val group has beams of different reward.*data\.split\.val"):
        planned((write_space(tmp_path)), tmp_path / "data")


def test_embeddings_need_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--embeddings e\.pth: .*--data"):
        planned((write_space(tmp_path)), None, Path("e.pth"))
