"""Small official files with images, to be broken one thing at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sweep.items import ItemsSettings, ItemTable, NewItem, open_items

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
