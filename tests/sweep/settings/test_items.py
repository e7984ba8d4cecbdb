from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sweep.errors import SpaceError
from sweep.items import AnswerForm, ItemsSettings
from sweep.space import parse_space

OFFICIAL = {"questions": "q.json", "annotations": "a.json", "images": "pictures"}


def test_single_paths_and_lists():
    one = ItemsSettings.model_validate(OFFICIAL)
    assert (one.questions, one.annotations, one.images) == ((Path("q.json"),), (Path("a.json"),), (Path("pictures"),))
    many = ItemsSettings.model_validate(OFFICIAL | {"questions": ["b.json", "q.json"], "answers": "raw"})
    assert many.questions == (Path("b.json"), Path("q.json"))
    assert many.answers is AnswerForm.RAW
    assert ItemsSettings(path=Path("native")).answers is AnswerForm.STEMMED


def test_travels_as_json():
    for settings in (ItemsSettings.model_validate(OFFICIAL), ItemsSettings(path=Path("x"))):
        assert ItemsSettings.model_validate_json(settings.model_dump_json()) == settings
    assert ItemsSettings.model_json_schema()["properties"]["questions"]["anyOf"]


def test_official_files_stand_in_a_space_file():
    text = (
        "items: {questions: q.json, annotations: [b.json, a.json], images: [one, two]}\n"
        "name: mine\nvlm: {model: {path: demo}}\nevaluation: {shots: 2}\n"
    )
    items = parse_space(text, "mine.yaml").items
    assert items is not None
    assert items.questions == (Path("q.json"),)
    assert items.annotations == (Path("b.json"), Path("a.json"))
    assert items.images == (Path("one"), Path("two"))
    with pytest.raises(SpaceError, match=r"mine.yaml:1: items.questions\[0\]"):
        parse_space(text.replace("q.json", "[5]"), "mine.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no items are named"),
        ({"path": "x", "questions": "q.json", "images": "i"}, "path 'x' and questions are both given"),
        ({"path": "x", "images": ["i"]}, "path 'x' and images are both given"),
        ({"path": "x", "answers": "raw"}, "hold one set of answers"),
        ({"annotations": "a.json", "images": "i"}, "annotations without questions"),
        ({"images": "i"}, "images without questions"),
        ({"questions": "q.json"}, "questions without images"),
        (OFFICIAL | {"answers": "lemmatised"}, "'stemmed' or 'raw'"),
        (OFFICIAL | {"folder": "x"}, "Extra inputs"),
        (OFFICIAL | {"questions": 5}, "valid tuple"),
        (OFFICIAL | {"questions": [5]}, "path"),
    ],
)
def test_refuses(values, message):
    with pytest.raises(ValidationError, match=message):
        ItemsSettings.model_validate(values)
