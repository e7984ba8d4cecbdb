from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selector.errors import DataError
from sweep.items import ImageError, ItemsSettings, ItemTable, open_items
from sweep.items import native as native_module
from tests.sweep.items.builders import new_items, with_answers, write_items


def opened(path: Path) -> ItemTable:
    return open_items(ItemsSettings(path=path))


def rewritten(folder: Path, change) -> Path:
    """The folder's items with their Arrow table replaced by `change(table)`."""
    path = folder / "items.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    return path


@pytest.mark.parametrize("as_paths", [False, True])
def test_round_trip(tmp_path, as_paths):
    items = new_items(200, as_paths=as_paths)
    file = write_items(tmp_path / "new" / "folder", iter(items))
    assert [path.name for path in file.parent.iterdir()] == ["items.parquet"]
    if as_paths:
        for item in items:
            (file.parent / item.image).parent.mkdir(exist_ok=True)
            (file.parent / item.image).write_bytes(f"content of {item.image}".encode())
    for table in (opened(file), opened(file.parent)):
        assert len(table) == 200
        for number, item in enumerate(items):
            assert table.question(number) == item.question
            assert table.answers(number) == tuple(item.answers)
            assert (table.image_id(number), table.question_id(number)) == (item.image_id, item.question_id)
            assert (table.question_type(number), table.answer_type(number)) == (item.question_type, None)
            expected = f"content of {item.image}".encode() if as_paths else item.image
            assert table.image_bytes(number) == expected
        assert table.images_missing() == 0
        assert with_answers(table) == sum(bool(item.answers) for item in items)


def test_labels(tmp_path):
    file = write_items(tmp_path, new_items(9))
    assert opened(file).image_label(7) == f"{file} row 7"
    paths = write_items(tmp_path / "paths", new_items(as_paths=True))
    assert opened(paths).image_label(1) == str(tmp_path / "paths" / "pictures" / "1.png")


def test_relative_paths_hold_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_items(Path("here"), new_items())
    table = opened(Path("here"))
    monkeypatch.chdir("/")
    assert table.image_bytes(2) == b"image 2"


def test_missing_files_are_counted_and_fail_when_asked_for(tmp_path):
    table = opened(write_items(tmp_path, new_items(5, as_paths=True)))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "3.png").write_bytes(b"x")
    assert table.images_missing() == 4
    assert table.image_bytes(3) == b"x"
    with pytest.raises(ImageError, match=r"pictures/1.png: no such file"):
        table.image_bytes(1)


def test_rows_without_an_image(tmp_path):
    write_items(tmp_path, new_items(4))
    images = pa.array([b"x", None, b"", None], pa.binary())
    table = opened(rewritten(tmp_path, lambda table: table.set_column(4, "image_bytes", images)))
    assert table.images_missing() == 2
    assert table.image_bytes(0) == b"x"
    with pytest.raises(ImageError, match=r"items\.parquet row 1: the row holds no image"):
        table.image_bytes(1)
    with pytest.raises(ImageError, match="row 2: the image is empty"):
        table.image_hash(2)


def test_null_path_is_a_missing_image(tmp_path):
    write_items(tmp_path, new_items(2, as_paths=True))
    paths = pa.array([None, "x.png"], pa.string())
    table = opened(rewritten(tmp_path, lambda table: table.set_column(4, "image_path", paths)))
    assert table.images_missing() == 2
    with pytest.raises(ImageError, match=r"image 100 in .*items\.parquet: image_path is null"):
        table.image_bytes(0)


def test_equivalent_types_are_accepted(tmp_path):
    file = write_items(tmp_path, new_items(6))
    expected = opened(file).fingerprint()
    wide = {
        "question": pa.large_string(),
        "answers": pa.large_list(pa.large_string()),
        "image_id": pa.int32(),
        "question_id": pa.uint16(),
        "image_bytes": pa.large_binary(),
        "question_type": pa.large_string(),
        "answer_type": pa.string(),
    }
    rewritten(tmp_path, lambda table: table.cast(pa.schema(wide)).select(sorted(wide)))
    table = opened(file)
    assert table.fingerprint() == expected
    assert [table.image_bytes(item) for item in range(6)] == [item.image for item in new_items(6)]
    assert table.answers(5) == ("answer 5", "answer 5")


def test_optional_columns_may_be_left_out(tmp_path):
    write_items(tmp_path, new_items())
    table = opened(rewritten(tmp_path, lambda table: table.drop_columns(["question_type", "answer_type"])))
    assert table.question_type(1) is None


# --- What is refused -------------------------------------------------------------------------------------------------


BAD_PATHS = ["/etc/passwd", "../x.png", "a/../../x.png", "", "a\0b", ".."]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_leave_the_folder(tmp_path, path):
    message = r"image_path of row 1: .* is not a path inside of the folder"
    write_items(tmp_path, new_items(2, as_paths=True))
    paths = pa.array(["x.png", path])
    with pytest.raises(DataError, match=message):
        opened(rewritten(tmp_path, lambda table: table.set_column(4, "image_path", paths)))


def rename(name: str, to: str):
    return lambda table: table.rename_columns([to if one == name else one for one in table.column_names])


def with_column(name: str, values: pa.Array):
    return lambda table: table.set_column(table.column_names.index(name), name, values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.drop_columns(["answers"]),
            "has the columns question, image_id,.*; expected question, answers",
        ),
        (rename("question_type", "questiontype"), "has the columns"),
        (lambda table: table.append_column("extra", table.column(2)), "has the columns"),
        (lambda table: table.append_column("question", table.column(0)), "has the columns"),
        (lambda table: table.drop_columns(["image_bytes"]), "has neither of image_bytes and image_path"),
        (lambda table: table.append_column("image_path", table.column(0)), "has both of image_bytes and image_path"),
        (with_column("question", pa.array([1, 2, 3])), "question: has type int64; expected string"),
        (with_column("answers", pa.array(["a", "b", "c"])), "answers: has type string; expected list"),
        (with_column("answers", pa.array([[1], [], []])), "answers: has type list.*int64.*; expected list"),
        (with_column("image_id", pa.array([1.0, 2.0, 3.0])), "image_id: has type double; expected int64"),
        (with_column("image_id", pa.array([1, None, 3])), "image_id: holds nulls"),
        (with_column("image_id", pa.array([1, 2, 2**63], pa.uint64())), "image_id: holds values that do not fit int64"),
        (with_column("answers", pa.array([["a"], None, []])), "answers: holds nulls"),
        (with_column("answers", pa.array([["a"], ["b", None], []])), "answers: holds nulls"),
        (with_column("question", pa.array(["a", "  ", "c"])), "question of row 1: is empty"),
        (with_column("image_bytes", pa.array(["a", "b", "c"])), "image_bytes: has type string; expected binary"),
        (lambda table: table.slice(0, 0), "holds no items"),
    ],
)
def test_broken_tables(tmp_path, change, message):
    write_items(tmp_path, new_items())
    with pytest.raises(DataError, match=message) as caught:
        opened(rewritten(tmp_path, change))
    assert str(caught.value).startswith(str(tmp_path / "items.parquet"))
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8(tmp_path):
    write_items(tmp_path, new_items())
    bad = pa.array([b"ok", b"\xff\xfe", b"c"]).view(pa.string())
    with pytest.raises(DataError, match="damaged or not Parquet"):
        opened(rewritten(tmp_path, with_column("question", bad)))


def test_row_groups_too_large_to_hold(tmp_path, monkeypatch):
    file = write_items(tmp_path, new_items(100))
    monkeypatch.setattr(native_module, "MAX_GROUP_BYTES", 500)
    with pytest.raises(DataError, match=r"row group 0 holds 0.0 GiB of images.*row groups of 64 rows"):
        opened(file)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), r"items\.parquet: no such file"),
        (lambda path: path.write_bytes(b""), "damaged or not Parquet"),
        (lambda path: path.write_bytes(b"PAR1" * 10), "damaged or not Parquet"),
    ],
)
def test_no_such_items(tmp_path, prepare, message):
    prepare(tmp_path / "items")
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "items")


READ_EACH = """
import sys
from pathlib import Path
from selector.errors import DataError
from sweep.items.native import read_items
for folder in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_items(folder / "items.parquet")
    except DataError as error:
        print(error)
"""


def test_a_footer_that_contradicts_itself_is_refused(tmp_path):
    """In a process of its own: pyarrow ends the one that asks for the statistics of such a column."""
    file = write_items(tmp_path / "whole", new_items(3))
    content = file.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    type_of_a_column = b"\x15\x0c"  # of the schema and of each column: field 1, BYTE_ARRAY
    places = [at for at in range(footer, len(content)) if content.startswith(type_of_a_column, at)]
    for number, at in enumerate(places):
        folder = tmp_path / "damaged" / f"{number:02d}"
        folder.mkdir(parents=True)
        (folder / "items.parquet").write_bytes(content[: at + 1] + b"\x04" + content[at + 2 :])
    command = [sys.executable, "-c", READ_EACH, str(tmp_path / "damaged")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "its footer contradicts itself on the type of row group 0" in done.stdout
    assert "it ends the process that works on it (SIGABRT)" in done.stdout
    assert len(done.stdout.splitlines()) <= len(places)


# Kept elsewhere -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["items", "items/items.parquet"])
def test_items_that_are_kept_elsewhere_are_fetched(tmp_path: Path, cache: Path, named: str) -> None:
    write_items(tmp_path / "items", new_items())
    settings = ItemsSettings.model_validate({"path": f"local://{tmp_path}/{named}"})
    assert settings.path == f"local://{tmp_path}/{named}" and settings.folder is None
    there, here = open_items(settings), open_items(ItemsSettings(path=tmp_path / "items"))
    assert there.fingerprint() == here.fingerprint() and there.image_bytes(1) == here.image_bytes(1)


@pytest.mark.parametrize("as_paths", [True, False])
def test_items_elsewhere_without_images_or_at_all_are_refused(tmp_path: Path, cache: Path, as_paths: bool) -> None:
    if as_paths:
        write_items(tmp_path, new_items(as_paths=True))
    expected = "holds no images; items that are kept elsewhere need" if as_paths else "no such file; expected items in"
    with pytest.raises(DataError, match=f"^local://{tmp_path}/items.parquet: {expected}"):
        open_items(ItemsSettings.model_validate({"path": f"local://{tmp_path}"}))
