from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selector.data import DataSettings, load
from selector.data.native import BEAMS, EMBEDDINGS, MANIFEST, QUERIES, Note, read_native, write_native
from selector.data.settings import SplitSettings
from selector.errors import DataError
from tests.selector.data.builders import dataset, load_json, older_data, read_notes, rl_data


@pytest.fixture
def folder(tmp_path):
    data = load_json(tmp_path / "json", rl_data() | {"_meta": {}})
    write_native(data, tmp_path / "native", "builders")
    return tmp_path / "native"


def alter(folder, name, change):
    """Rewrite a table with one column changed."""
    table = pq.read_table(folder / name)
    columns = {column: table.column(column).to_pylist() for column in table.column_names}
    change(columns)
    types = {field.name: field.type for field in table.schema}
    arrays = {
        column: values if isinstance(values, pa.Array) else pa.array(values, types.get(column))
        for column, values in columns.items()
    }
    pq.write_table(pa.table(arrays), folder / name)


def alter_manifest(folder, **values):
    content = json.loads((folder / MANIFEST).read_text()) | values
    (folder / MANIFEST).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def refused(folder, *expected):
    with pytest.raises(DataError) as caught:
        read_native(folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message, f"{part!r} is not in {message!r}"


@pytest.mark.parametrize("content", [rl_data(), older_data()], ids=["rl", "older"])
def test_round_trip(tmp_path, content):
    data = load_json(tmp_path / "json", content, split=SplitSettings(val=0.4, test=0.2, seed=3))
    manifest = write_native(data, tmp_path / "deep" / "native", "somewhere")
    again = load(DataSettings(path=tmp_path / "deep" / "native"))
    assert again.fingerprint() == data.fingerprint() == manifest.fingerprint
    assert again.split.tolist() == data.split.tolist()
    assert list(again.outcomes) == list(data.outcomes)
    assert sorted(path.name for path in (tmp_path / "deep" / "native").iterdir()) == [
        BEAMS,
        EMBEDDINGS,
        MANIFEST,
        QUERIES,
    ]


def test_ragged_data_and_counts_survive(tmp_path):
    data = dataset(counts={"identical_beams": 1})
    write_native(data, tmp_path, "x")
    again = read_native(tmp_path)
    assert again.counts == {"identical_beams": 1}
    for name in ("pool_items", "pool_starts", "beam_picks", "beam_starts", "query_items", "embeddings"):
        np.testing.assert_array_equal(getattr(again, name), getattr(data, name))
        assert getattr(again, name).flags.c_contiguous


def test_tables_are_what_the_docstring_says(folder):
    queries, beams, items = (pq.read_schema(folder / name) for name in (QUERIES, BEAMS, EMBEDDINGS))
    assert queries.names == ["query_item", "pool", "split"]
    assert [str(kind) for kind in queries.types[::2]] == ["int64", "int8"]
    assert queries.field("pool").type == pa.list_(pa.int64())
    assert beams.names == ["query_item", "picks", "vqa_correct", "vqa_acc_score", "vqa_gt_prob", "vqa_rel_score"]
    assert items.field("embedding").type == pa.list_(pa.float32(), 4)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["rows"] == {"queries": 6, "beams": 18, "items": 30}
    assert manifest["counts"] == {"keys_not_queries": 1}
    assert manifest["source"] == "builders"


NOTES = {Note.PREDICTION: ["cat", "", "zwei \u2028 Hunde", "no", "yes", "7"], Note.PROPOSER: ["random"] * 6}


def test_notes_are_stored_and_change_nothing_for_training(tmp_path):
    plain = write_native(dataset(), tmp_path / "plain", "x")
    noted = write_native(dataset(), tmp_path / "noted", "x", NOTES)
    assert plain == noted
    assert read_notes(tmp_path / "noted") == NOTES
    assert read_notes(tmp_path / "plain") == {}
    assert pq.read_schema(tmp_path / "noted" / BEAMS).names[-2:] == ["prediction", "proposer"]
    again = read_native(tmp_path / "noted")
    assert again.fingerprint() == read_native(tmp_path / "plain").fingerprint()
    assert list(again.outcomes) == list(dataset().outcomes)


def test_altering_a_note_is_no_alteration_of_the_data(tmp_path):
    write_native(dataset(), tmp_path, "x", NOTES)
    alter(tmp_path, BEAMS, lambda columns: columns["prediction"].__setitem__(2, "two dogs"))
    read_native(tmp_path)
    assert read_notes(tmp_path)[Note.PREDICTION][2] == "two dogs"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(prediction=pa.array([1] * 6)), "prediction: has type int64; expected string"),
        (lambda c: c["proposer"].__setitem__(1, None), "proposer: holds nulls"),
        (lambda c: c.update(answer=["cat"] * 6), "has the columns"),
    ],
)
def test_broken_notes_and_other_columns_are_refused(tmp_path, change, expected):
    write_native(dataset(), tmp_path, "x", NOTES)
    alter(tmp_path, BEAMS, change)
    refused(tmp_path, BEAMS, expected)


def test_notes_of_another_length_are_a_bug(tmp_path):
    with pytest.raises(ValueError, match="5 texts of proposer for 6 beams"):
        write_native(dataset(), tmp_path / "x", "x", {Note.PROPOSER: ["random"] * 5})
    assert not (tmp_path / "x").exists()


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        write_native(dataset(), tmp_path, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
    with pytest.raises(DataError, match="cannot be written"):
        write_native(dataset(), tmp_path / "note.txt", "x")


@pytest.mark.parametrize("survives", [0, 1, 2, 3])
def test_an_interrupted_import_is_refused_and_a_failed_one_leaves_nothing(tmp_path, monkeypatch, survives):
    done = []

    def fsync(_):
        if len(done) == survives:
            raise OSError(28, "No space left on device")
        done.append(1)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DataError, match="No space left"):
        write_native(dataset(), tmp_path / "native", "x")
    assert list((tmp_path / "native").iterdir()) == []


def test_a_folder_without_its_manifest_is_refused(folder):
    (folder / MANIFEST).unlink()
    with pytest.raises(DataError, match="not written to its end"):
        load(DataSettings(path=folder))


def test_invalid_data_is_not_written(tmp_path):
    with pytest.raises(DataError, match="query 7: picks of beam 1: position 3"):
        write_native(dataset(beam_picks=np.array([[0, 1], [2, 3], [1, 0], [3, 0], [0, 3], [1, 2]])), tmp_path, "x")
    assert list(tmp_path.iterdir()) == []


ALTERED = {
    "value": (BEAMS, lambda c: c["vqa_gt_prob"].__setitem__(4, 0.75), ("fingerprint", "altered")),
    "embedding": (EMBEDDINGS, lambda c: c["embedding"][29].__setitem__(0, 1.5), ("fingerprint",)),
    "split": (QUERIES, lambda c: c["split"].reverse(), ("fingerprint",)),
    "pick range": (BEAMS, lambda c: c["picks"].__setitem__(4, [0, 6]), ("query 3: picks of beam 1", "position 6")),
    "pick count": (BEAMS, lambda c: c["picks"].__setitem__(4, [5]), (BEAMS, "query 3: picks of beam 1", "1 picks")),
    "null in picks": (BEAMS, lambda c: c["picks"].__setitem__(4, [5, None]), (BEAMS, "picks", "nulls")),
    "null outcome": (BEAMS, lambda c: c["vqa_correct"].__setitem__(4, None), (BEAMS, "vqa_correct", "nulls")),
    "unknown query": (BEAMS, lambda c: c["query_item"].__setitem__(4, 99), (BEAMS, "query 99", "not in queries")),
    "order": (BEAMS, lambda c: c["query_item"].reverse(), (BEAMS, "query 13", "stand together")),
    "empty group": (BEAMS, lambda c: c.update(query_item=[8] * 6 + c["query_item"][6:]), ("query 3", "empty")),
    "unknown column": (BEAMS, lambda c: c.update(reward=[1.0] * 18), (BEAMS, "columns", "reward")),
    "missing column": (QUERIES, lambda c: c.pop("pool"), (QUERIES, "has the columns query_item, split")),
    "column type": (
        BEAMS,
        lambda c: c.update(vqa_correct=pa.array([1] * 18, pa.int64())),
        (BEAMS, "vqa_correct", "has type int64; expected float"),
    ),
    "list type": (QUERIES, lambda c: c.update(pool=pa.array([1] * 6)), (QUERIES, "pool", "expected list")),
    "embedding type": (
        EMBEDDINGS,
        lambda c: c.update(embedding=pa.array(c["embedding"], pa.list_(pa.float32()))),
        (EMBEDDINGS, "embedding", "expected fixed_size_list"),
    ),
    "NaN embedding": (EMBEDDINGS, lambda c: c["embedding"][7].__setitem__(1, float("nan")), (EMBEDDINGS, "row 7")),
    "rows": (EMBEDDINGS, lambda c: c["embedding"].pop(), (EMBEDDINGS, "has 29 rows, manifest.json says 30")),
    "duplicate query": (QUERIES, lambda c: c["query_item"].__setitem__(0, 13), ("query 8 is not in queries",)),
}


@pytest.mark.parametrize("name", ALTERED)
def test_altered_tables_are_refused(folder, name):
    table, change, expected = ALTERED[name]
    alter(folder, table, change)
    refused(folder, "native", *expected)


def test_rewriting_a_table_unchanged_is_no_alteration(folder):
    for name in (QUERIES, BEAMS, EMBEDDINGS):
        alter(folder, name, lambda columns: None)
    assert read_native(folder).queries == 6


@pytest.mark.parametrize("name", [QUERIES, BEAMS, EMBEDDINGS])
def test_damaged_tables_are_refused(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    refused(folder, name, "damaged")
    (folder / name).unlink()
    refused(folder, name, "no such file")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"format": "other"}, ("'other'", "is not known")),
        ({"version": 2}, ("version 2",)),
        ({"fingerprint": "0" * 64}, ("fingerprint", "'000000000000'")),
        ({"fingerprint": 7}, ("manifest.json", "fingerprint", "string")),
        ({"rows": {"queries": 6, "beams": 18}}, ("manifest.json", "rows.items")),
        ({"rows": {"queries": 7, "beams": 18, "items": 30}}, ("queries.parquet", "has 6 rows")),
        ({"counts": {"x": -1}}, ("counts.x",)),
        ({"source": ...}, ("source", "required")),
        ({"extra": 1}, ("extra",)),
    ],
)
def test_altered_manifests_are_refused(folder, values, expected):
    alter_manifest(folder, **values)
    refused(folder, *expected)


def test_a_truncated_manifest_is_refused(folder):
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:50])
    refused(folder, MANIFEST, "truncated")
