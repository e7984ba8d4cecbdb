"""The section of a space."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sweep.settings.evaluation import EvaluationSettings


@pytest.mark.parametrize(
    ("shots", "rank_by", "numbers", "column", "measure"),
    [
        (4, "mean", (1, 2, 3, 4), 4, "mean accuracy over 1 to 4 shots"),
        ([1, 2, 4], "mean", (1, 2, 4), 3, "mean accuracy over 1, 2, 4 shots"),
        ([2], "mean", (2,), 1, "2-shot accuracy"),
        (4, 3, (1, 2, 3, 4), 2, "3-shot accuracy"),
        ([2, 8], 8, (2, 8), 1, "8-shot accuracy"),
    ],
)
def test_shots_are_a_number_or_a_list(
    shots: object, rank_by: object, numbers: tuple[int, ...], column: int, measure: str
) -> None:
    settings = EvaluationSettings.model_validate({"shots": shots, "rank_by": rank_by})
    assert settings.shot_numbers == numbers
    assert settings.rank_column == column
    assert settings.measure == measure
    assert EvaluationSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shots": [2, 1]}, "ascending"),
        ({"shots": []}, "at least one number"),
        ({"shots": 0}, "shots"),
        ({"shots": 2, "rank_by": 3}, "none of the shots"),
        ({"rank_by": "median"}, "rank_by"),
        ({"baseline": "trial 3"}, "baseline"),
        ({"baseline": "no demonstrations", "no_demonstrations": False}, "no_demonstrations is false"),
        ({"split": "train", "train_rows": True}, "split is train itself"),
        ({"racing": {"alpha": 0.05}}, "alpha"),
        ({"samples": 0}, "samples"),
        ({"sample": 5}, "sample"),
        ({"failure_limit": 1.5}, "failure_limit"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EvaluationSettings.model_validate(values)
