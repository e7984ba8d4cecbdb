"""Items from the official files of VQA and OK-VQA: questions, annotations and a folder of images.

    questions     {"data_subtype": "train2014", "questions": [{"question_id", "image_id", "question"}, ...], ...}
    annotations   {"annotations": [{"question_id", "image_id", "answers": [{"answer", "raw_answer"?}, ...],
                                    "question_type"?, "answer_type"?}, ...], ...}

Items are the questions, in the order of the files. Annotations are found by question id. A questions file has one for
each of its questions, or none at all (test sets).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from selector.data.json_text import read_json
from selector.data.place import Place, file_label, quote
from sweep.items.folders import choose, find_images
from sweep.items.images import ImageFiles
from sweep.items.table import ItemColumns, ItemTable
from sweep.settings.items import AnswerForm
from sweep.storage.garbage import no_search_for_garbage

LISTS = ("questions", "annotations")


@dataclass
class _File:
    """One questions file: the rows that it became, and what its images' names may hold."""

    place: Place
    subtype: str | None
    start: int
    end: int = 0


@dataclass
class _Reading:
    """What the files say, by row. Answers are None until an annotation gives them."""

    form: AnswerForm
    files: list[_File] = field(default_factory=list)
    rows: dict[int, int] = field(default_factory=dict)  # question id -> row
    questions: list[str] = field(default_factory=list)
    image_ids: list[int] = field(default_factory=list)
    answers: list[list[str] | None] = field(default_factory=list)
    question_types: list[str | None] = field(default_factory=list)
    answer_types: list[str | None] = field(default_factory=list)

    def file_of(self, row: int) -> _File:
        return next(file for file in self.files if file.start <= row < file.end)


def read_official(
    questions: Sequence[Path], annotations: Sequence[Path], images: Sequence[Path], form: AnswerForm
) -> ItemTable:
    """Read and check the files, and look for the images.

    Raises:
        DataError: files that are not as the module's docstring says or do not belong together, a question id twice,
            a folder that is missing, an image id with several files that its `data_subtype` does not tell apart.
    """
    reading = _Reading(form)
    with no_search_for_garbage():
        for path in questions:
            _read_questions(path, reading)
        if not reading.questions:
            raise reading.files[0].place.error("holds no questions")
        for path in annotations:
            _read_annotations(path, reading)
        for file in reading.files:
            _check_annotated(file, reading)
        paths = pa.array(_find(images, reading), pa.binary())
        columns = _columns(reading)
    folders = ", ".join(file_label(folder.absolute()) for folder in images)
    absent = (folders, "no image file whose name ends in this id was found")
    return ItemTable(columns, ImageFiles(paths, columns.image_ids, absent))


def _read_questions(path: Path, reading: _Reading) -> None:
    place, content, entries = _read_file(path, "questions")
    subtype = content.get("data_subtype")
    if subtype is not None and type(subtype) is not str:
        raise place.error(f"expected a text, found {quote(subtype)}", "data_subtype")
    file = _File(place, subtype, start=len(reading.questions))
    for number, value in enumerate(entries):
        where = f"questions[{number}]"
        entry = place.read_object(value, where)
        question = _integer(entry, "question_id", place, where)
        if question in reading.rows:
            row = reading.rows[question]
            first = f"questions[{row - file.start}]" if row >= file.start else reading.file_of(row).place.file
            raise place.error(f"question_id {question} is in {first} already", where)
        reading.rows[question] = len(reading.questions)
        reading.image_ids.append(_integer(entry, "image_id", place, where))
        text = _text(entry.get("question"), place, f"{where}.question")
        if not text.strip():
            raise place.error("is empty; expected a text", f"{where}.question")
        reading.questions.append(text)
    file.end = len(reading.questions)
    reading.files.append(file)
    unanswered: list[None] = [None] * (file.end - file.start)
    for column in (reading.answers, reading.question_types, reading.answer_types):
        column.extend(unanswered)


def _read_annotations(path: Path, reading: _Reading) -> None:
    place, _, entries = _read_file(path, "annotations")
    for number, value in enumerate(entries):
        where = f"annotations[{number}]"
        entry = place.read_object(value, where)
        question = _integer(entry, "question_id", place, where)
        row = reading.rows.get(question)
        if row is None:
            files = ", ".join(file.place.file for file in reading.files)
            raise place.error(f"question_id {question} is not in {files}; do the files belong together?", where)
        if reading.answers[row] is not None:
            raise place.error(f"question_id {question} has an annotation already", where)
        if "image_id" in entry and _integer(entry, "image_id", place, where) != reading.image_ids[row]:
            raise place.error(
                f"says image_id {entry['image_id']}, but question {question} of {reading.file_of(row).place.file} "
                f"has {reading.image_ids[row]}; do the files belong together?",
                where,
            )
        reading.answers[row] = _answers(entry, place, where, reading.form)
        for name, column in (("question_type", reading.question_types), ("answer_type", reading.answer_types)):
            if entry.get(name) is not None:
                column[row] = _text(entry[name], place, f"{where}.{name}")


def _read_file(path: Path, name: str) -> tuple[Place, dict[str, Any], list[Any]]:
    """The file's place, its content, and its list of the given name."""
    place = Place(file_label(path))
    value = read_json(path)
    if not isinstance(value, dict):
        raise place.error(f"expected an object with a list {name}, found {quote(value)}")
    content = place.read_object(value)
    if name not in content:
        other = next((one for one in LISTS if one in content), None)
        hint = f"; it has {other}: give it under {other}" if other else ""
        raise place.error(f"has no list {name}{hint}")
    if type(content[name]) is not list:
        raise place.error(f"expected a list, found {quote(content[name])}", name)
    return place, content, content[name]


def _integer(entry: dict[str, Any], name: str, place: Place, where: str) -> int:
    value = entry.get(name)
    if type(value) is not int:
        found = f"found {quote(value)}" if name in entry else "it is missing"
        raise place.error(f"expected an integer, {found}", f"{where}.{name}")
    return value


def _text(value: object, place: Place, where: str) -> str:
    if type(value) is not str:
        raise place.error(f"expected a text, found {quote(value)}", where)
    if not value.isascii() and not _is_unicode(value):
        raise place.error(f"{quote(value)} holds half of a surrogate pair, which is no character", where)
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _answers(entry: dict[str, Any], place: Place, where: str, form: AnswerForm) -> list[str]:
    values = entry.get("answers")
    if type(values) is not list or not values:
        found = quote(values) if "answers" in entry else "nothing"
        raise place.error(f"expected the list of the annotators' answers, found {found}", f"{where}.answers")
    name = form.field
    texts: list[Any] = [value.get(name) if type(value) is dict else None for value in values]
    if _are_plain(texts):
        return texts
    return [_answer(value, place, f"{where}.answers[{number}]", form) for number, value in enumerate(values)]


def _are_plain(texts: list[Any]) -> bool:
    """Whether all are ASCII texts, as nearly all answers are: two calls for what takes many one by one."""
    try:
        return "".join(texts).isascii()
    except TypeError:
        return False


def _answer(value: object, place: Place, where: str, form: AnswerForm) -> str:
    answer = place.read_object(value, where)
    if form.field in answer:
        return _text(answer[form.field], place, f"{where}.{form.field}")
    other = AnswerForm.STEMMED if form is AnswerForm.RAW else AnswerForm.RAW
    hint = f"; the file has {other.field}: set answers: {other.value}" if other.field in answer else ""
    raise place.error(f"has no {form.field}{hint}", where)


def _check_annotated(file: _File, reading: _Reading) -> None:
    found = reading.answers[file.start : file.end]
    without = found.count(None)
    if 0 < without < len(found):
        row = file.start + found.index(None)
        question = next(one for one, place in reading.rows.items() if place == row)
        raise file.place.error(
            f"{without} of its {len(found)} questions have no annotation, the first of them is question {question}; "
            "expected annotations for all of them, or for none (a test set)"
        )


def _columns(reading: _Reading) -> ItemColumns:
    answers = [row or [] for row in reading.answers]
    starts = pa.array([0, *accumulate(len(row) for row in answers)], pa.int32())
    texts = pa.array([text for row in answers for text in row], pa.string())
    return ItemColumns(
        questions=pa.array(reading.questions, pa.string()),
        answers=pa.ListArray.from_arrays(starts, texts),
        image_ids=pa.array(reading.image_ids, pa.int64()),
        question_ids=pa.array(list(reading.rows), pa.int64()),
        question_types=pa.array(reading.question_types, pa.string()),
        answer_types=pa.array(reading.answer_types, pa.string()),
    )


def _find(folders: Sequence[Path], reading: _Reading) -> list[bytes | None]:
    """Per row the path of its image, as the file system has it. None where there is none."""
    found = find_images(folders, set(reading.image_ids))
    paths: list[bytes | None] = []
    for file in reading.files:
        chosen: dict[int, bytes | None] = {}
        for image in reading.image_ids[file.start : file.end]:
            if image not in chosen:
                candidates = found.get(image)
                best = choose(image, candidates, file.subtype) if candidates else None
                chosen[image] = None if best is None else os.fsencode(best.path)
            paths.append(chosen[image])
    return paths
