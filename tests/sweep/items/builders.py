"""Small official files with images, to be broken one thing at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweep.items import ItemsSettings, ItemTable, open_items
from sweep.items.native import IMAGE_COLUMN, IMAGE_TYPES, ITEMS_FILE, OPTIONAL, PATH_COLUMN, REQUIRED

Json = dict[str, Any]
QUESTIONS = ((495, 49, "what colour is the cat?"), (7, 49, "¿qué es esto?"), (123, 12, "how many?"))
ANSWERS = (["red"] * 6 + ["orange"] * 4, ["gato", "cat", "cat", "gato"] + ["x"] * 6, ["2"] * 10)


def questions(rows: tuple[tuple[int, int, str], ...] = QUESTIONS, subtype: str | None = "train2014") -> Json:
    entries = [{"image_id": image, "question": text, "question_id": number} for number, image, text in rows]
    return {"info": {"version": "1"}, "data_subtype": subtype, "questions": entries}


def annotations() -> Json:
    entries = []
    for (number, image, _), answers in zip(QUESTIONS, ANSWERS, strict=True):
        rows = [
            {"answer_id": place, "answer": text, "raw_answer": f"{text}s", "answer_confidence": "yes"}
            for place, text in enumerate(answers, start=1)
        ]
        types = {"question_type": "what", "answer_type": "other"}
        entries.append({"question_id": number, "image_id": image, "answers": rows, **types})
    return {"info": {}, "annotations": entries[::-1]}  # matched by id, not by position


def store(folder: Path, name: str, content: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(data)
    return path


def images(folder: Path, names: tuple[str, ...] = ("COCO_train2014_000000000049.jpg", "12.PNG")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"bytes of {name}".encode())
    return folder


def official(folder: Path, asked: object = None, answered: object = None, **values: Any) -> ItemTable:
    """Store the files (the valid ones where none are given) and open them; `values` replace settings."""
    settings = {
        "questions": store(folder, "questions.json", questions() if asked is None else asked),
        "annotations": store(folder, "annotations.json", annotations() if answered is None else answered),
    }
    if "images" not in values:
        settings["images"] = images(folder / "images")
    return open_items(ItemsSettings.model_validate(settings | values))


@dataclass(frozen=True, slots=True)
class NewItem:
    """A row of `items.parquet`; `image` is the encoded image, or its path relative to the file's folder."""

    question: str
    answers: Sequence[str]
    image_id: int
    question_id: int
    image: bytes | str
    question_type: str | None = None
    answer_type: str | None = None


def write_items(folder: Path, items: Iterable[NewItem]) -> Path:
    """Items in native form: all with images or all with paths."""
    rows = [asdict(item) for item in items]
    kind = IMAGE_COLUMN if isinstance(rows[0]["image"], bytes) else PATH_COLUMN
    schema = pa.schema({**REQUIRED, kind: IMAGE_TYPES[kind], **OPTIONAL})
    table = pa.Table.from_pylist([{**row, kind: row["image"]} for row in rows], schema=schema)
    folder.mkdir(parents=True, exist_ok=True)
    encoded = [name for name in schema.names if name != IMAGE_COLUMN]
    options = {"compression": "none", "use_dictionary": encoded, "write_page_checksum": True}
    pq.write_table(table, folder / ITEMS_FILE, row_group_size=64, **options)
    return folder / ITEMS_FILE


def with_answers(table: ItemTable) -> int:
    return sum(bool(table.answers(item)) for item in range(len(table)))


def new_items(count: int = 3, *, as_paths: bool = False) -> list[NewItem]:
    return [
        NewItem(
            question=f"question {number}?",
            answers=[f"answer {number}"] * (number % 3),
            image_id=100 + number,
            question_id=1000 + number,
            image=f"pictures/{number}.png" if as_paths else b"image %d" % number,
            question_type="what" if number % 2 else None,
        )
        for number in range(count)
    ]
