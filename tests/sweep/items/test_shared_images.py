"""Images that queries of several splits, or queries and candidates, have in common are counted by kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from selector.data import DataSettings, Split, load
from selector.data.queries import QueryTable
from selector.data.settings import SplitSettings
from selector.data.split import assign_splits
from selector.errors import DataError
from sweep.items.shared_images import Sign, equal_rows, find_shared_images
from sweep.plan.make import make_plan
from sweep.plan.plan import CollectionPlan, Plan
from sweep.plan.requests import Request, request_of_space
from sweep.report.plan import describe_plan
from sweep.runs.paths import SharedPaths
from sweep.storage.local import stored_at
from tests.selector.data.builders import ITEMS, QUERIES, embeddings, pool_of, rl_data, store, write_queries
from tests.sweep.commands import Command, write_space
from tests.sweep.items.builders import NewItem, write_items


def table(splits: dict[int, int], pools: dict[int, list[int]]) -> QueryTable:
    """Queries by item id, with their split and candidates."""
    flat = [one for item in splits for one in pools.get(item, [])]
    starts = np.cumsum([0, *(len(pools.get(item, [])) for item in splits)])
    return QueryTable(
        np.array(list(splits)), np.array(flat, dtype=np.int64), starts.astype(np.int64),
        np.array(list(splits.values()), dtype=np.int8),
    )  # fmt: skip


def test_every_kind_is_counted_with_one_example() -> None:
    images = np.arange(20)
    images[[4, 5, 6]] = images[[1, 2, 2]]  # val 4 has the image of train 1, tests 5 and 6 that of train 2
    images[7] = images[4]
    images[16] = images[8]
    queries = table(
        {1: 0, 2: 0, 3: 0, 4: 1, 5: 2, 6: 2, 7: 2, 8: 2},
        {1: [10, 11], 2: [12, 4, 16], 3: [2, 14], 4: [10], 5: [8], 6: [13], 7: [17], 8: [16, 18]},
    )
    found = find_shared_images(queries, images)
    assert [(one.count, one.sentence) for one in found if one.across_splits] == [
        (1, "1 val query has the image of a train query, such as val query 4 and train query 1 (image 1)"),
        (3, "3 test queries have the image of a train query, such as test query 5 and train query 2 (image 2)"),
        (1, "1 test query has the image of a val query, such as test query 7 and val query 4 (image 1)"),
    ]
    assert [(one.count, one.sentence) for one in found if not one.across_splits] == [
        (1, "1 val query has the image of candidates of train queries, such as val query 4 and candidate 4 of train "
            "query 2 (image 1)"),
        (4, "4 test queries have the image of candidates of train queries, such as test query 5 and candidate 2 of "
            "train query 3 (image 2)"),
        (1, "1 test query has the image of candidates of val or test queries, such as test query 8 and candidate 8 of "
            "test query 5 (image 8)"),
        (1, "1 query has its own image among its candidates, such as test query 8 and candidate 16 (image 8)"),
    ]  # fmt: skip
    assert find_shared_images(queries, np.arange(20))[0].count == 1  # val 4 is a candidate of a train query


def test_nothing_is_found_where_nothing_is_shared() -> None:
    queries = table({1: 0, 2: 1, 3: 2}, {1: [10, 11], 2: [12], 3: [10, 12]})
    assert find_shared_images(queries, np.arange(20)) == []


def test_equal_embeddings_stand_for_images_where_there_are_no_items() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    rows[3] = rows[1]
    assert equal_rows(rows).tolist() == [0, 1, 2, 1, 4, 5]
    (found,) = find_shared_images(table({1: 0, 3: 2}, {1: [4], 3: [5]}), equal_rows(rows), Sign.EMBEDDING)
    assert found.sentence == "1 test query has the embedding of a train query, such as test query 3 and train query 1"


@given(
    images=st.lists(st.integers(0, 30), min_size=12, max_size=60),
    seed=st.integers(0, 99),
)
def test_queries_of_one_image_are_divided_together_and_the_others_as_before(images: list[int], seed: int) -> None:
    groups, settings = np.array(images), SplitSettings(seed=seed, val=0.2, test=0.2)
    items = np.arange(len(groups)) * 7
    alone, together = assign_splits(items, settings), assign_splits(items, settings, groups=groups)
    for image in set(images):
        members = groups == image
        assert len(set(together[members])) == 1
        if members.sum() == 1:
            assert together[members] == alone[members]


# In a plan -----------------------------------------------------------------------------------------------------------


def space_with_items(folder: Path, images: list[int], **sections: object) -> Path:
    """A space over the small RL data, with an item table whose images are these."""
    store(folder / "data", rl_data())
    write_items(
        folder / "items",
        (NewItem(f"what {item}?", ["red"] * 10, images[item], item, "none.png") for item in range(ITEMS)),
    )
    return write_space(
        folder, items={"path": str(folder / "items"), **sections.pop("items", {})},  # type: ignore[dict-item]
        data={"path": str(folder / "data"), **sections.pop("data", {})}, **sections,  # type: ignore[dict-item]
    )  # fmt: skip


def request(space: Path) -> Request:
    return request_of_space(str(space), SharedPaths.beside(stored_at(space.parent / "runs")))


def plan_of(space: Path) -> Plan | CollectionPlan:
    return make_plan(request(space))


@pytest.fixture
def images(tmp_path: Path) -> list[int]:
    """A val query has the image of a train query."""
    data = load(DataSettings(path=store(tmp_path / "first", rl_data())))
    found = list(range(ITEMS))
    (val, *_), (train, *_) = (data.query_items[data.indices(split)].tolist() for split in (Split.VAL, Split.TRAIN))
    found[val] = found[train]
    return found


def test_a_new_run_over_shared_images_is_refused_and_told_what_helps(
    tmp_path: Path, images: list[int], command: Command
) -> None:
    space = space_with_items(tmp_path, images)
    with pytest.raises(DataError, match=r"1 val query has the image of a train query, such as .*data\.split_by: image"):
        plan_of(space)
    code, _, error = command("validate", str(space), "--runs", str(tmp_path / "runs"))
    assert code == 2 and "items.allow_shared_images: true" in error


def test_what_is_allowed_is_shown_still(tmp_path: Path, images: list[int], command: Command) -> None:
    space = space_with_items(tmp_path, images, items={"allow_shared_images": True})
    code, output, error = command("validate", str(space), "--runs", str(tmp_path / "runs"))
    assert code == 0 and "1 val query has the image of a train query" in " ".join(output.split()), error
    assert "nothing" not in output


def test_a_run_that_exists_goes_on(tmp_path: Path, images: list[int]) -> None:
    found = request(space_with_items(tmp_path, images))
    plan = make_plan(Request(**{**vars(found), "exists": True}))
    assert any(one.across_splits for one in plan.shared)


def test_data_can_be_divided_by_image(tmp_path: Path, images: list[int]) -> None:
    plan = plan_of(space_with_items(tmp_path, images, data={"split_by": "image"}))
    assert isinstance(plan, Plan) and not any(one.across_splits for one in plan.shared)
    split_of = dict(zip(plan.dataset.query_items.tolist(), plan.dataset.split.tolist(), strict=True))
    same = [item for item in QUERIES if images.count(images[item]) > 1 or images[item] != item]
    assert len({split_of[item] for item in same}) == 1


def test_without_items_equal_embeddings_are_noticed_and_never_refused(tmp_path: Path) -> None:
    found = load(DataSettings(path=store(tmp_path / "data", rl_data())))
    val, train = (int(found.query_items[found.indices(split)][0]) for split in (Split.VAL, Split.TRAIN))
    rows = embeddings()
    rows[val] = rows[train]
    store(tmp_path / "data", rl_data(), rows)
    plan = plan_of(write_space(tmp_path, data={"path": str(tmp_path / "data")}))
    assert isinstance(plan, Plan)
    said = dict(describe_plan(plan))["equal embeddings"]
    assert said == f"1 val query has the embedding of a train query, such as val query {val} and train query {train}"


def test_dividing_by_image_needs_images_and_data_without_a_split(tmp_path: Path) -> None:
    folder = store(tmp_path / "data", rl_data())
    with pytest.raises(DataError, match="no images are known: give the section items"):
        load(DataSettings(path=folder, split_by="image"))
    with pytest.raises(DataError, match="has its split already"):
        load(DataSettings(split_by="image"), np.arange(10))


def test_candidates_that_are_held_out_are_noticed(tmp_path: Path) -> None:
    plan = plan_of(space_with_items(tmp_path, list(range(ITEMS))))
    assert isinstance(plan, Plan)
    rows = [text for _, text in describe_plan(plan)]
    held_out = plan.dataset.query_items[plan.dataset.split != int(Split.TRAIN)].tolist()
    trained = [pool_of(item) for item in plan.dataset.query_items[plan.dataset.split == int(Split.TRAIN)].tolist()]
    expected = sum(any(item in pool for pool in trained) for item in held_out)
    assert sum(one.count for one in plan.shared if "of train queries" in one.sentence) == expected > 0
    assert any("candidates of train queries, such as" in text for text in rows)


def test_a_file_of_queries_to_be_measured_is_checked_before_the_model_is_asked(tmp_path: Path) -> None:
    write_items(
        tmp_path / "items", (NewItem(f"what {item}?", ["red"] * 10, item // 2, item, "none.png") for item in range(20))
    )
    np.save(tmp_path / "items" / "embeddings.npy", np.eye(20, dtype=np.float32))
    write_queries(table({0: 0, 1: 1, 2: 0, 4: 2}, {item: [6, 8, 10] for item in (0, 1, 2, 4)}), tmp_path / "queries")
    space = {
        "name": "file", "items": {"path": str(tmp_path / "items")}, "vlm": {"model": {"path": "demo"}},
        "collect": {"queries": str(tmp_path / "queries")}, "parameters": {}, "budget": {"trials": 1},
    }  # fmt: skip
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(space))
    with pytest.raises(
        DataError, match=r"val query 1 and train query 0 \(image 0\).*make the data with splits by image"
    ):
        plan_of(file)
    space["items"] = {"path": str(tmp_path / "items"), "allow_shared_images": True}
    file.write_text(yaml.safe_dump(space))
    assert [one.count for one in plan_of(file).shared] == [1]
