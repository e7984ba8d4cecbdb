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
from sweep.errors import RunError
from sweep.evaluation.accuracies import AnswerBook
from sweep.evaluation.questions import choose_questions
from sweep.plan.collection import plan_collection
from sweep.plan.make import make_plan, plan_evaluation
from sweep.plan.plan import EvaluationPlan, Plan
from sweep.plan.requests import Request, request_of_space
from sweep.report.plan import describe_collection, describe_plan
from sweep.runs.paths import SharedPaths
from sweep.settings.evaluation import SplitName
from sweep.settings.vlm import demo_model_folder
from sweep.space import SearchSpace, parse_space
from sweep.storage.local import stored_at
from sweep.vlm.answers.cached import answer_all
from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem
from tests.sweep.items.builders import NewItem, write_items

ITEMS = 300


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return demo_dataset(DemoSettings(items=ITEMS, queries=240), SplitSettings())


def space_of(folder: Path, **sections: object) -> SearchSpace:
    values = {"items": {"path": str(folder)}, "vlm": {"model": {"path": "demo"}}, "evaluation": {}} | sections
    return parse_space(yaml.safe_dump({"name": "early", **values}), "early.yaml")


def request_of(space: SearchSpace, shared: SharedPaths) -> Request:
    return Request(space, "", "early.yaml", space.data, space, shared)


def evaluation_of(space: SearchSpace, shared: SharedPaths, dataset: Dataset) -> EvaluationPlan | None:
    return plan_evaluation(request_of(space, shared), dataset)


def items_in(folder: Path, present: int) -> Path:
    """Items of which the first have an image."""
    write_items(folder, (NewItem(f"what {i}?", ["red"] * 10, i, i, f"{i}.png") for i in range(ITEMS)))
    for item in range(present):
        (folder / f"{item}.png").write_bytes(b"%d" % item)
    return folder


def test_questions_without_images_are_refused_at_once(tmp_path: Path, dataset: Dataset) -> None:
    folder, shared = items_in(tmp_path / "none", 0), SharedPaths(stored_at(tmp_path / "shared"))
    with pytest.raises(
        DataError, match=r"lack their image, which is more than the failure limit of 0\.05 .* allows"
    ) as e:
        evaluation_of(space_of(folder), shared, dataset)
    assert "\n" not in str(e.value) and ".png: no such file" in str(e.value)
    evaluation_of(space_of(folder, evaluation={"failure_limit": 1.0}), shared, dataset)
    evaluation_of(space_of(folder, evaluation={"samples": 5}), shared, dataset)  # an evaluation lets few pass
    evaluation_of(space_of(items_in(tmp_path / "all", ITEMS)), shared, dataset)


@pytest.mark.parametrize(("failed", "total", "stops"), [(1, 10, False), (1, 20, False), (2, 20, True)])
def test_check_service_and_evaluation_judge_failures_alike(
    tmp_path: Path, dataset: Dataset, failed: int, total: int, stops: bool
) -> None:
    questions = choose_questions(dataset, SplitName.TEST, total, 0, range(ITEMS)).items_Q.tolist()
    results: dict[WorkItem, Result] = {WorkItem(item): Answer("red", None, 1) for item in questions}
    folder = items_in(tmp_path / "items", ITEMS)
    for item in questions[:failed]:
        (folder / f"{item}.png").unlink()
        results[WorkItem(item)] = Failure(FailureKind.MISSING, "no such file", f"{item}.png")

    def check() -> None:
        evaluation_of(
            space_of(folder, evaluation={"samples": total}), SharedPaths(stored_at(tmp_path / "shared")), dataset
        )

    def ask_service() -> None:
        answer_all(
            list(results),
            wants=lambda item: Wanted(f"{item.query:064x}"),
            store=AnswerStore(stored_at(tmp_path / "answers")),
            run=lambda items, score: ((item, results[item]) for item in items),
            score=False,
            model="model",
            failure_limit=0.05,
        )

    def fill_book() -> None:
        AnswerBook(lambda items: results, lambda *_: 1.0, failure_limit=0.05).ask(list(results))

    for place in (check, ask_service, fill_book):
        if stops:
            with pytest.raises((DataError, RunError), match=rf"{failed} of {total} .* judged from 20 results on"):
                place()
        else:
            place()


def test_a_model_that_cannot_answer_is_refused_at_once(tmp_path: Path, dataset: Dataset) -> None:
    folder, shared = items_in(tmp_path / "all", ITEMS), SharedPaths(stored_at(tmp_path / "shared"))
    model = Path(shutil.copytree(demo_model_folder(), tmp_path / "model"))
    vlm = {"model": {"path": str(model)}}
    evaluation_of(space_of(folder, vlm=vlm), shared, dataset)
    (model / "preprocessor_config.json").rename(model / "elsewhere")
    with pytest.raises(UserError, match=r"holds neither preprocessor_config.json nor a processor_config.json"):
        evaluation_of(space_of(folder, vlm=vlm), shared, dataset)
    (model / "elsewhere").rename(model / "preprocessor_config.json")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model.safetensors: damaged or incomplete"):
        evaluation_of(space_of(folder, vlm=vlm), shared, dataset)
    config = model / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "bert"}))
    with pytest.raises(UserError, match=r"model_type is 'bert'; only Qwen2.5-VL"):
        evaluation_of(space_of(folder, vlm=vlm), shared, dataset)


@pytest.mark.parametrize(
    ("present", "said"), [(ITEMS, ""), (ITEMS - 1, "; 1 without its"), (200, "; 100 without their")]
)
def test_what_will_be_collected_says_how_many_images_are_missing(
    tmp_path: Path, dataset: Dataset, present: int, said: str
) -> None:
    folder = items_in(tmp_path / "items", present)
    np.save(folder / "embeddings.npy", dataset.embeddings)
    space = space_of(folder, collect={"build": {"count": 40, "pool": {"size": 8}}})
    items = dict(describe_collection(plan_collection(request_of(space, SharedPaths(stored_at(tmp_path / "shared"))))))[
        "items"
    ]
    assert items.startswith(f"{ITEMS}, embeddings of width {dataset.width}{said}")
    assert said or "without" not in items


def test_what_will_be_asked_says_how_many_images_are_missing(tmp_path: Path, dataset: Dataset) -> None:
    write_native(dataset, tmp_path / "data", "test")
    folder = items_in(tmp_path / "items", ITEMS - 2)
    space = {"name": "early", "items": {"path": str(folder)}, "vlm": {"model": {"path": "demo"}}, "evaluation": {}}
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump({**space, "data": {"path": str(tmp_path / "data")}, "budget": {"trials": 1}}))
    plan = make_plan(request_of_space(str(file), SharedPaths(stored_at(tmp_path / "shared"))))
    assert isinstance(plan, Plan)
    assert dict(describe_plan(plan))["items"] == f"{ITEMS} of width {dataset.width}; 2 without their images"


def test_a_split_that_would_be_empty_is_refused_before_it_is_collected(tmp_path: Path, dataset: Dataset) -> None:
    folder, shared = items_in(tmp_path / "all", ITEMS), SharedPaths(stored_at(tmp_path / "shared"))
    np.save(folder / "embeddings.npy", dataset.embeddings)
    collect = {"build": {"count": 40, "pool": {"size": 8}, "split": {"val": 0.3, "test": 0.0}}}
    space = space_of(folder, collect=collect)
    with pytest.raises(DataError, match=r"the test split would have no query .* collect.build.split"):
        plan_collection(request_of(space, shared))
    on_val = space_of(folder, collect=collect, evaluation={"split": "val"})
    assert len(plan_collection(request_of(on_val, shared)).beams) > 0
