"""What would stop an evaluation is said before hours of collecting and training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from selector.data import Dataset
from selector.data.native import write_native
from selector.data.settings import DemoSettings, SplitSettings
from selector.data.synthetic import demo_dataset
from selector.errors import DataError, UserError
from sweep.items import NewItem, write_items
from sweep.plan.checks import check_evaluation
from sweep.plan.collection import draft
from sweep.plan.plan import Plan
from sweep.plan.requests import make_request
from sweep.report.plan import describe_draft, describe_plan
from sweep.runs.paths import SharedPaths
from sweep.settings.vlm import demo_model_folder
from sweep.space import SearchSpace, parse_space

ITEMS = 300


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return demo_dataset(DemoSettings(items=ITEMS, queries=240), SplitSettings())


def space_of(folder: Path, **sections: object) -> SearchSpace:
    values = {"items": {"path": str(folder)}, "vlm": {"model": {"path": "demo"}}, "evaluation": {}} | sections
    return parse_space(yaml.safe_dump({"name": "early", **values}), "early.yaml")


def items_in(folder: Path, present: int) -> Path:
    """Items of which the first have an image."""
    write_items(folder, (NewItem(f"what {i}?", ["red"] * 10, i, i, f"{i}.png") for i in range(ITEMS)))
    for item in range(present):
        (folder / f"{item}.png").write_bytes(b"%d" % item)
    return folder


def test_questions_without_images_are_refused_at_once(tmp_path: Path, dataset: Dataset) -> None:
    folder, shared = items_in(tmp_path / "none", 0), SharedPaths(tmp_path / "shared")
    with pytest.raises(
        DataError, match=r"lack their image, which is more than evaluation.failure_limit 0.05 allows"
    ) as e:
        check_evaluation(space_of(folder), dataset, shared)
    assert "\n" not in str(e.value) and ".png: no such file" in str(e.value)
    check_evaluation(space_of(folder, evaluation={"failure_limit": 1.0}), dataset, shared)
    check_evaluation(space_of(folder, evaluation={"samples": 5}), dataset, shared)  # an evaluation lets few pass
    check_evaluation(space_of(items_in(tmp_path / "all", ITEMS)), dataset, shared)


def test_a_model_that_cannot_answer_is_refused_at_once(tmp_path: Path, dataset: Dataset) -> None:
    folder, shared = items_in(tmp_path / "all", ITEMS), SharedPaths(tmp_path / "shared")
    model = Path(shutil.copytree(demo_model_folder(), tmp_path / "model"))
    vlm = {"model": {"path": str(model)}}
    check_evaluation(space_of(folder, vlm=vlm), dataset, shared)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model.safetensors: damaged or incomplete"):
        check_evaluation(space_of(folder, vlm=vlm), dataset, shared)
    config = model / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "bert"}))
    with pytest.raises(UserError, match=r"model_type is 'bert'; only Qwen2.5-VL"):
        check_evaluation(space_of(folder, vlm=vlm), dataset, shared)


@pytest.mark.parametrize(
    ("present", "said"), [(ITEMS, ""), (ITEMS - 1, "; 1 without its"), (200, "; 100 without their")]
)
def test_what_will_be_collected_says_how_many_images_are_missing(
    tmp_path: Path, dataset: Dataset, present: int, said: str
) -> None:
    folder = items_in(tmp_path / "items", present)
    np.save(folder / "embeddings.npy", dataset.embeddings)
    space = space_of(folder, collect={"build": {"count": 40, "pool": {"size": 8}}})
    items = dict(describe_draft(draft(space, "", "early.yaml", SharedPaths(tmp_path / "shared"))))["items"]
    assert items.startswith(f"{ITEMS}, embeddings of width {dataset.width}{said}")
    assert said or "without" not in items


def test_what_will_be_asked_says_how_many_images_are_missing(tmp_path: Path, dataset: Dataset) -> None:
    write_native(dataset, tmp_path / "data", "test")
    folder = items_in(tmp_path / "items", ITEMS - 2)
    space = {"name": "early", "items": {"path": str(folder)}, "vlm": {"model": {"path": "demo"}}, "evaluation": {}}
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump({**space, "data": {"path": str(tmp_path / "data")}, "budget": {"trials": 1}}))
    plan = make_request(str(file), None, None, SharedPaths(tmp_path / "shared"))
    assert isinstance(plan, Plan)
    assert dict(describe_plan(plan))["items"] == f"{ITEMS} of width {dataset.width}; 2 without their images"


def test_a_split_that_would_be_empty_is_refused_before_it_is_collected(tmp_path: Path, dataset: Dataset) -> None:
    folder, shared = items_in(tmp_path / "all", ITEMS), SharedPaths(tmp_path / "shared")
    np.save(folder / "embeddings.npy", dataset.embeddings)
    collect = {"build": {"count": 40, "pool": {"size": 8}, "split": {"val": 0.3, "test": 0.0}}}
    space = space_of(folder, collect=collect)
    with pytest.raises(DataError, match=r"the test split would have no query .* collect.build.split"):
        draft(space, "", "early.yaml", shared)
    on_val = space_of(folder, collect=collect, evaluation={"split": "val"})
    assert len(draft(on_val, "", "early.yaml", shared).beams) > 0
