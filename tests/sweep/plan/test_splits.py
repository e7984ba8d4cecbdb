"""What gives a split more queries depends on where the data came from, and is said with the number that decides."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import yaml

from selector.data import Dataset, Outcome, Split, describe
from selector.data.native import write_native
from selector.data.settings import DataSettings, DemoSettings, SplitSettings
from selector.data.synthetic import demo_dataset
from selector.errors import DataError
from selector.rewards import compute_rewards
from selector.settings import ValidationMetric, ValidationSettings
from sweep.collect.beams import propose_beams
from sweep.collect.measure import Measurement
from sweep.driver.collection import _Reporter
from sweep.plan.make import make_plan
from sweep.plan.plan import Plan
from sweep.plan.requests import Request, request_of_space
from sweep.plan.splits import SplitError, check_summary, informative_groups, informative_sentence, more_queries
from sweep.report.plan import describe_plan
from sweep.runs.paths import SharedPaths
from sweep.storage.local import stored_at
from sweep.terminal.console import Screen
from tests.selector.data.builders import rl_data, store
from tests.sweep.collect.worlds import Answerer, embeddings, settings, table
from tests.sweep.items.builders import NewItem, write_items

MODEL = {"model": {"path": "demo"}}
COLLECTS = {"vlm": MODEL, "collect": {"build": {"count": 40}}}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return demo_dataset(DemoSettings(items=300, queries=60), SplitSettings())


def constant(dataset: Dataset, split: Split) -> Dataset:
    """The data with beams of one reward in every group of a split."""
    owner = np.repeat(np.arange(dataset.queries), np.diff(dataset.beam_starts))
    outcomes = {name: values.copy() for name, values in dataset.outcomes.items()}
    for name in (Outcome.CORRECT, Outcome.ACC_SCORE):
        outcomes[name][dataset.split[owner] == int(split)] = 0.0
    return Dataset(**{**vars(dataset), "outcomes": outcomes})


def request(folder: Path, **sections: object) -> Request:
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", "budget": {"trials": 1}, **sections}))
    return request_of_space(str(file), SharedPaths.beside(stored_at(folder / "runs")))


def native(folder: Path, dataset: Dataset) -> str:
    write_native(dataset, folder / "native", "a test")
    return str(folder / "native")


def items(folder: Path, count: int = 60) -> str:
    write_items(folder / "items", (NewItem("what?", ["red"] * 10, item, item, "none.png") for item in range(count)))
    return str(folder / "items")


def test_the_setting_is_that_of_the_datas_origin(tmp_path: Path, dataset: Dataset) -> None:
    rl = str(store(tmp_path / "data", rl_data()).parent)
    own, folder = {"items": {"path": items(tmp_path)}}, native(tmp_path, dataset)
    (tmp_path / "chosen.parquet").touch()
    demo = {"items": {"demo": {}}, "vlm": MODEL, "collect": {}}
    file = {**own, "vlm": MODEL, "collect": {"queries": str(tmp_path / "chosen.parquet")}}
    for sections, expected in (
        ({}, "raise data.split.val"),
        ({"data": {"path": rl}}, "raise data.split.val"),
        ({"data": {"path": folder}}, "make the data again with more val queries (it is stored with its split)"),
        ({**own, **COLLECTS}, "raise collect.build.split.val"),
        (demo, "raise items.demo.val"),
        (file, "put more queries into the val split in chosen.parquet"),
    ):
        assert more_queries(request(tmp_path, **sections), Split.VAL) == expected
    over = request(tmp_path, **own, **COLLECTS)
    given = Request(**{**vars(over), "data": DataSettings(path=Path(rl))})  # --data
    assert more_queries(given, Split.VAL) == "raise data.split.val"
    train = more_queries(request(tmp_path, **own, **COLLECTS), Split.TRAIN)
    assert train == "lower collect.build.split.val and collect.build.split.test"
    (tmp_path / "items" / "queries.parquet").write_bytes(b"")
    beside = more_queries(request(tmp_path, **own, vlm=MODEL, collect={}), Split.VAL)
    assert beside == "put more queries into the val split in queries.parquet beside the items"


def test_a_run_that_goes_on_knows_that_its_data_was_collected(tmp_path: Path, dataset: Dataset) -> None:
    found = request(tmp_path, items={"path": items(tmp_path)}, **COLLECTS)
    shared = found.shared.data_folder("0" * 64).local()
    for path, expected in (
        (shared, "collect.build.split.val"),
        (Path(native(tmp_path, dataset)), "make the data again"),
    ):
        data = DataSettings(path=path)
        later = Request(**{**vars(found), "data": data, "exists": True})
        assert expected in more_queries(later, Split.VAL)


def test_a_validation_split_that_decides_nothing_is_refused_with_the_right_setting(
    tmp_path: Path, dataset: Dataset
) -> None:
    found = request(tmp_path, items={"path": items(tmp_path)}, **COLLECTS)
    check_summary(describe(dataset, compute_rewards(dataset.outcomes, found.space.validation.reward)), found)
    flat = constant(dataset, Split.VAL)
    summary = describe(flat, compute_rewards(flat.outcomes, found.space.validation.reward))
    with pytest.raises(SplitError, match=r"no val group .*; raise collect\.build\.split\.val, measure more beams"):
        check_summary(summary, found)
    with pytest.raises(DataError, match=r"no val group .*make the data again with more val queries"):
        make_plan(request(tmp_path, data={"path": native(tmp_path, flat)}))
    make_plan(request(tmp_path, data={"path": str(tmp_path / "native")}, validation={"metric": "rce"}))


def test_an_evaluated_split_without_queries_names_the_right_setting(tmp_path: Path) -> None:
    data = store(tmp_path / "data", rl_data()).parent
    sections = {"items": {"path": items(tmp_path, 30)}, "vlm": MODEL, "evaluation": {}}
    with pytest.raises(SplitError, match=r"test split has no queries to evaluate on: raise data\.split\.test, or name"):
        make_plan(request(tmp_path, **sections, data={"path": str(data), "split": {"val": 0.3, "test": 0.0}}))


def test_the_number_of_groups_that_decide_is_part_of_what_would_run(tmp_path: Path) -> None:
    plan = make_plan(request(tmp_path))
    assert isinstance(plan, Plan)
    count, total = informative_groups(plan.summary), plan.summary.queries[Split.VAL]
    said = dict(describe_plan(plan))["validation groups"]
    assert said.startswith(f"{count} of {total} validation groups are informative and decide everything") and count > 50
    few = informative_sentence(28, 127, ValidationSettings(), "raise collect.build.split.val")
    assert few == (
        "28 of 127 validation groups are informative and decide everything; for more, raise collect.build.split.val, "
        "or measure more beams for each query"
    )
    rce = informative_sentence(28, 127, ValidationSettings(metric=ValidationMetric.RCE), "")
    assert rce == "28 of 127 validation groups are informative, and val_loss (rce) counts all of them"


def test_a_collection_says_what_helps_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world, stream = table(), io.StringIO()
    beams = propose_beams(settings(), world, embeddings(world))
    beams.queries.split[:] = int(Split.VAL)
    measurement = Measurement(beams, world, lambda text, answers: 0.0, gt_prob=True)
    reporter = _Reporter(measurement, Screen(file=stream, width=200), "raise collect.build.split.val")
    monkeypatch.setattr("sweep.driver.collection.SECONDS_BETWEEN_REPORTS", -1.0)
    for item in beams.work_items():
        reporter(item, Answerer(world).result(item))
    lines = stream.getvalue().splitlines()
    assert lines[8].endswith("0 of 9 validation groups are informative")
    hints = [place for place, line in enumerate(lines) if "raise collect.build.split.val" in line]
    assert hints == [10]  # once, after the tenth group
