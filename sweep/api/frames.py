"""Rows of data frames. pandas comes with Ray Tune, and is loaded when the first frame is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from selector.reports import EpochReport
from sweep.errors import RunError
from sweep.evaluation.answer_table import AnswerRecord
from sweep.evaluation.records import Estimate, Evaluation
from sweep.study import TrialSummary

if TYPE_CHECKING:
    from pandas import DataFrame


def data_frame(rows: Sequence[dict[str, Any]]) -> DataFrame:
    """Rows as a data frame, with the columns in the order in which they first appear.

    Raises:
        RunError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise RunError(f"data frames need pandas ({error}): pip install pandas") from None
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return pandas.DataFrame(list(rows), columns=columns)


def trial_row(row: TrialSummary) -> dict[str, Any]:
    """A trial as `Run.trials_dataframe` shows it."""
    return {
        "trial": row.number,
        "state": row.state_name,
        "val_loss": row.value if row.is_complete else None,
        "best_epoch": row.standing.best_step,
        "verdicts": " ".join(row.standing.verdicts),
        "seed": row.seed,
        "seconds": row.duration,
        "reason": row.reason,
        **{f"params.{path}": value for path, value in row.params.items()},
    }


def report_row(number: int, report: EpochReport) -> dict[str, Any]:
    """An epoch as `Run.curves` shows it. The change of parameters has a column for each module."""
    values = report.to_dict()
    changes = values.pop("parameter_change")
    first = {
        "trial": number,
        "stage": str(values.pop("stage")),
        "epoch": values.pop("epoch"),
        "step": values.pop("step"),
    }
    return {**first, **values, **{f"parameter_change.{name}": value for name, value in changes.items()}}


EPOCHS_OWN = ("val_loss", "seconds")
"""Columns that a trial has of its own, and each of its epochs has as well."""


def joined_rows(trials: Sequence[TrialSummary], epochs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of epochs with the columns of their trials. A trial without an epoch has one row."""
    found = {
        row.number: {f"trial_{name}" if name in EPOCHS_OWN else name: value for name, value in trial_row(row).items()}
        for row in trials
    }
    rows = [{**one, **found[one["trial"]]} for one in epochs]
    seen = {one["trial"] for one in epochs}
    return [*rows, *(values for number, values in found.items() if number not in seen)]


def answer_row(answer: AnswerRecord) -> dict[str, Any]:
    """An answer as `Run.answers` shows it."""
    return asdict(answer)


def result_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """A comparison by answers as `Run.results` shows it: for each row its numbers of shots, then their mean."""
    for row in evaluation.rows:
        first = {"row": row.name, "kind": row.kind.value, "trial": row.trial, "step": row.step, "rank": row.rank}
        by_shots: list[tuple[int | str, Estimate | None]] = [*zip(evaluation.shots, row.shots, strict=True)]
        for shots, estimate in [*by_shots, ("mean", row.mean)]:
            values = dict.fromkeys(("value", "low", "high", "questions")) if estimate is None else dict(estimate)
            accuracy = values.pop("value")
            yield {**first, "shots": shots, "accuracy": accuracy, **values, "in_best_set": row.in_best_set}
