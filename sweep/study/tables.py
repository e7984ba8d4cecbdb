"""Optuna's tables, read and written in whole: six questions for all trials, one transaction for all that changed.

Optuna's own storage asks and writes one value at a time, each through objects of SQLAlchemy. What is read and written
here is the same, to the letter (`tests/sweep/study/test_kept.py` holds both against each other).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models  # the schema has no public name
from optuna.trial import FrozenTrial
from sqlalchemy import Column, ColumnElement, Connection, Table, delete, exists, func, insert, select, update

from sweep.storage.garbage import no_search_for_garbage

STUDIES: Table = models.StudyModel.__table__
TRIALS: Table = models.TrialModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
VALUES: Table = models.TrialValueModel.__table__
STEPS: Table = models.TrialIntermediateValueModel.__table__
USER_ATTRS: Table = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRS: Table = models.TrialSystemAttributeModel.__table__
STUDY_SYSTEM_ATTRS: Table = models.StudySystemAttributeModel.__table__


def read_trials(connection: Connection, study_id: int, after: int = -1) -> list[FrozenTrial]:
    """Trials of a study in the order in which they were made.

    Args:
        connection: to a database with Optuna's tables.
        study_id: Optuna's number of the study.
        after: only trials whose number in the database (not in the study) is higher.

    Raises:
        ValueError, TypeError, KeyError, LookupError: a row holds what Optuna never writes.
    """
    chosen = (TRIALS.c.study_id == study_id) & (TRIALS.c.trial_id > after)
    rows = connection.execute(select(TRIALS).where(chosen).order_by(TRIALS.c.trial_id)).all()
    if not rows:
        return []

    parts = partial(_parts, connection, chosen)
    with no_search_for_garbage():  # 40 % of the time
        params = parts(PARAMS.c.param_name, PARAMS.c.param_value, PARAMS.c.distribution_json)
        values = parts(VALUES.c.objective, VALUES.c.value, VALUES.c.value_type)
        steps = parts(STEPS.c.step, STEPS.c.intermediate_value, STEPS.c.intermediate_value_type)
        user = parts(USER_ATTRS.c.key, USER_ATTRS.c.value_json)
        system = parts(SYSTEM_ATTRS.c.key, SYSTEM_ATTRS.c.value_json)
        value_of = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
        return [
            FrozenTrial(
                number=row.number,
                state=row.state,
                value=None,
                values=_values(values[row.trial_id]),
                datetime_start=_local(row.datetime_start),
                datetime_complete=_local(row.datetime_complete),
                params={name: _distribution(text).to_external_repr(one) for name, one, text in params[row.trial_id]},
                distributions={name: _distribution(text) for name, _, text in params[row.trial_id]},
                user_attrs={key: json.loads(text) for key, text in user[row.trial_id]},
                system_attrs={key: json.loads(text) for key, text in system[row.trial_id]},
                intermediate_values={step: value_of(one, kind) for step, one, kind in steps[row.trial_id]},
                trial_id=row.trial_id,
            )
            for row in rows
        ]


def _parts(
    connection: Connection, chosen: ColumnElement[bool], *columns: Column[Any]
) -> dict[int, list[tuple[Any, ...]]]:
    """Rows of one table by trial."""
    table = columns[0].table
    (key,) = table.primary_key.columns
    query = select(table.c.trial_id, *columns).join(TRIALS, table.c.trial_id == TRIALS.c.trial_id).where(chosen)
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for identity, *values in connection.execute(query.order_by(key)).tuples().all():
        found[identity].append(tuple(values))
    return found


def count_trials(connection: Connection, study_id: int) -> int:
    """Trials of a study, in whatever state."""
    found = select(func.count(TRIALS.c.trial_id)).where(TRIALS.c.study_id == study_id)
    return int(connection.execute(found).scalar_one())


def insert_trial(connection: Connection, study_id: int, template: FrozenTrial) -> int:
    """Make a trial of a study, with the next number.

    Args:
        connection: in a transaction.
        study_id: Optuna's number of the study.
        template: all that the trial has, but for its number and its number in the database.

    Returns:
        Its number in the database.

    Raises:
        NoResultFound: there is no such study.
        ValueError: a parameter has a value that its distribution does not have.
    """
    # As in Optuna: without the lock two processes could count the same trials. SQLite has one writer anyway.
    connection.execute(select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id).with_for_update()).one()
    row: dict[str, Any] = {"study_id": study_id, "state": template.state}
    row["datetime_start"], row["datetime_complete"] = _utc(template.datetime_start), _utc(template.datetime_complete)
    made = connection.execute(insert(TRIALS).values(row))
    identity: int = made.inserted_primary_key[0]  # type: ignore[index]  # one row has been made
    earlier = select(func.count()).where((TRIALS.c.study_id == study_id) & (TRIALS.c.trial_id < identity))
    number = connection.execute(earlier).scalar_one()
    connection.execute(update(TRIALS).where(TRIALS.c.trial_id == identity).values(number=number))
    empty = FrozenTrial(number, template.state, None, None, None, {}, {}, {}, {}, {}, identity)
    _write_parts(connection, empty, template)
    return identity


def write_trial(connection: Connection, before: FrozenTrial, after: FrozenTrial) -> None:
    """Store what a trial has become.

    Args:
        connection: in a transaction.
        before: what the database holds.
        after: the same trial. Parameters, steps and attributes may have come or changed, none has gone.

    Raises:
        UpdateFinishedTrialError: another process has changed the trial's state meanwhile.
    """
    identity = before._trial_id
    row: dict[str, Any] = {"state": after.state}
    row["datetime_start"], row["datetime_complete"] = _utc(after.datetime_start), _utc(after.datetime_complete)
    same = (TRIALS.c.trial_id == identity) & (TRIALS.c.state == before.state)
    if connection.execute(update(TRIALS).where(same).values(row)).rowcount != 1:
        raise UpdateFinishedTrialError(f"trial {before.number} was changed by another process")
    _write_parts(connection, before, after)


def _write_parts(connection: Connection, before: FrozenTrial, after: FrozenTrial) -> None:
    """All but the trial's own row."""
    identity = before._trial_id
    _insert(connection, PARAMS, _param_rows(before, after))
    _insert(connection, VALUES, _value_rows(before, after))
    changed = _changed(before.intermediate_values, after.intermediate_values)
    _remove(connection, STEPS, STEPS.c.step, identity, changed.keys() & before.intermediate_values.keys())
    _insert(connection, STEPS, [_step_row(identity, step, value) for step, value in changed.items()])
    for table, old, new in (
        (USER_ATTRS, before.user_attrs, after.user_attrs),
        (SYSTEM_ATTRS, before.system_attrs, after.system_attrs),
    ):
        attributes = _changed(old, new)
        _remove(connection, table, table.c.key, identity, attributes.keys() & old.keys())
        _insert(
            connection,
            table,
            [{"trial_id": identity, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()],
        )


def write_study_attributes(connection: Connection, study_id: int, attributes: Mapping[str, Any]) -> None:
    """Store system attributes of a study, in place of those of the same names."""
    table = STUDY_SYSTEM_ATTRS
    ours = (table.c.study_id == study_id) & table.c.key.in_(list(attributes))
    connection.execute(delete(table).where(ours))
    rows = [{"study_id": study_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
    _insert(connection, table, rows)


def has_study_attribute(connection: Connection, study_id: int, key: str) -> bool:
    """Whether a study has a system attribute of this name."""
    table = STUDY_SYSTEM_ATTRS
    found = select(exists().where((table.c.study_id == study_id) & (table.c.key == key)))
    return bool(connection.execute(found).scalar_one())


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _remove(connection: Connection, table: Table, column: Any, trial_id: int, keys: set[Any]) -> None:  # noqa: ANN401
    if keys:
        connection.execute(delete(table).where((table.c.trial_id == trial_id) & column.in_(list(keys))))


def _changed(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: value for key, value in new.items() if key not in old or not _equal(old[key], value)}


def _equal(first: Any, second: Any) -> bool:  # noqa: ANN401
    return bool(first == second) or (first != first and second != second)


def _param_rows(before: FrozenTrial, after: FrozenTrial) -> list[dict[str, Any]]:
    return [
        {
            "trial_id": before._trial_id,
            "param_name": name,
            "param_value": after.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(after.distributions[name]),
        }
        for name, value in after.params.items()
        if name not in before.params
    ]


def _value_rows(before: FrozenTrial, after: FrozenTrial) -> list[dict[str, Any]]:
    if before.values is not None or after.values is None:
        return []
    rows = []
    for objective, value in enumerate(after.values):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        rows.append({"trial_id": before._trial_id, "objective": objective, "value": stored, "value_type": kind})
    return rows


def _step_row(trial_id: int, step: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}


def _values(rows: list[tuple[Any, ...]]) -> list[float] | None:
    if not rows:
        return None
    found = {objective: models.TrialValueModel.stored_repr_to_value(value, kind) for objective, value, kind in rows}
    return [found[objective] for objective in range(len(rows))]


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _local(stored: datetime | None) -> datetime | None:
    """The database has UTC without a zone, and Optuna's trials have local time without one."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _utc(local: datetime | None) -> datetime | None:
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)
