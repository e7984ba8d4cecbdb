from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sweep.items import AnswerForm, ItemsSettings

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
