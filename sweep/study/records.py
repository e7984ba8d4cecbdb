"""A trial as the study has it, as a JSON value. It is stored with the trial's own files, so that the study can be
checked against it, and built again if its database is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState

from sweep.errors import StudyError
from sweep.space.search_space import SearchSpace
from sweep.study.kept import KeptStorage
from sweep.study.notes import save_note, trial_note
from sweep.study.reading import read_trials
from sweep.study.storage import open_study, without_password
from sweep.study.summaries import REASON, summary

FORMAT = "sweep-trial/1"
Record = dict[str, Any]


def record_of(trial: FrozenTrial) -> Record:
    """All that a study holds of a trial, as JSON values."""
    found = {
        "format": FORMAT,
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "params": trial.params,
        "distributions": {name: json.loads(distribution_to_json(one)) for name, one in trial.distributions.items()},
        "intermediate_values": {str(step): value for step, value in sorted(trial.intermediate_values.items())},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "started": trial.datetime_start and trial.datetime_start.isoformat(),
        "ended": trial.datetime_complete and trial.datetime_complete.isoformat(),
    }
    plain: Record = json.loads(json.dumps(found))
    return plain


def is_ended(record: Record) -> bool:
    """Whether nothing of the trial changes any more."""
    return TrialState[str(record["state"]).upper()].is_finished()


def trial_of(record: Record) -> FrozenTrial:
    """The inverse of `record_of`. Raises StudyError where the record is damaged."""
    try:
        if record["format"] != FORMAT:
            raise ValueError(f"format is not {FORMAT!r}")
        distributions = {
            name: json_to_distribution(json.dumps(one)) for name, one in dict(record["distributions"]).items()
        }
        return FrozenTrial(
            number=int(record["number"]),
            state=TrialState[str(record["state"]).upper()],
            value=record["value"],
            datetime_start=_time(record["started"]),
            datetime_complete=_time(record["ended"]),
            params=dict(record["params"]),
            distributions=distributions,
            user_attrs=dict(record["user_attrs"]),
            system_attrs=dict(record["system_attrs"]),
            intermediate_values={int(step): float(value) for step, value in record["intermediate_values"].items()},
            trial_id=0,
        )
    except (KeyError, ValueError, TypeError, AttributeError, OptunaError) as error:
        raise StudyError(f"damaged ({type(error).__name__}: {error})") from None


def lost(number: int) -> Record:
    """What stands in a rebuilt study for a trial of which nothing is left: the numbers of a study have no gaps."""
    trial = optuna.trial.create_trial(
        state=TrialState.FAIL, user_attrs={REASON: "nothing of it was left when the study was built again"}
    )
    trial.number = number
    return record_of(trial)


def read_records(url: str, name: str) -> list[Record]:
    """The trials of a study, by number. Raises StudyError if there is no such database or study."""
    return [record_of(trial) for trial in read_trials(url, name)]


def store_records(
    url: str, name: str, space: SearchSpace, records: Iterable[Record], started: float | None = None
) -> None:
    """Make a study of these trials in a database that has none under this name, or an empty one.

    Args:
        url: of the database. The file, or its tables, are made.
        name: of the study.
        space: that the study is for.
        records: by number, without gaps.
        started: when the run was first started, in seconds since the epoch. None: when the first of the trials was.

    Raises:
        StudyError: the study has trials, the space is not the study's, or a record is damaged.
    """
    trials = [trial_of(record) for record in records]
    begun = [trial.datetime_start.timestamp() for trial in trials if trial.datetime_start is not None]
    _, storage, _ = open_study(url, name, space, min(begun, default=0.0) if started is None else started)
    identity = storage.study_id  # a study has no public way to add a trial that runs
    if storage.get_n_trials(identity):
        raise StudyError(f"study {name!r} in {without_password(url)} has trials: it is not built again")
    try:
        for trial in trials:
            _store(trial, storage, identity)
    except BaseException:  # Ctrl-C as well: half a study would be taken for a whole one
        with suppress(Exception):  # what failed first is told
            storage.delete_study(identity)
        raise
    finally:
        storage.remove_session()


def _store(trial: FrozenTrial, storage: KeptStorage, identity: int) -> None:
    try:
        stored = storage.create_new_trial(identity, template_trial=trial)
    except ValueError as error:  # a choice that there is not, or other choices than an earlier trial had
        raise StudyError(f"the record of trial {trial.number} is damaged ({error})") from None
    if trial.state.is_finished():
        save_note(storage, stored, trial_note(summary(trial)))


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
