"""Rows of data frames. pandas comes with Ray Tune, and is loaded when the first frame is made."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from selector.reports import EpochReport
from sweep.errors import RunError
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
