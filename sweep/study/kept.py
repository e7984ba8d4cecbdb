"""Optuna's storage for the one process that writes a study: read once, kept in memory, written in whole transactions.

Invariants:
1. The database is the truth. What is kept equals what it holds, apart from an open transaction; whenever a write
   fails, all of it is forgotten and read again.
2. What belongs together is stored together: of a transaction everything is there after a kill, or nothing.
3. One process writes. Trials that another one adds (`enqueue` of plain Optuna) are seen at the next `refresh`. A trial
   whose state another process has changed cannot be written any more: UpdateFinishedTrialError, as in Optuna.

For one thread. Optuna's `_CachedStorage` reads every running trial again at each question: some 30 reads a trial.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NoReturn

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from sweep.study.tables import has_study_attribute, insert_trial, read_trials, write_study_attributes, write_trial


class KeptStorage(BaseStorage):
    """The trials of one study, kept. See the module's invariants.

    Args:
        tables: makes studies and trials, and has the connection.
        study_id: Optuna's number of the study in it.
    """

    def __init__(self, tables: RDBStorage, study_id: int) -> None:
        self._tables = tables
        self.study_id = study_id
        self._kept: list[FrozenTrial] | None = None
        self._places: dict[int, int] = {}
        self._stored: dict[int, FrozenTrial] = {}  # what the database has of trials that the transaction has changed
        self._attributes: dict[str, Any] = {}  # of the study, set in the transaction
        self._depth = 0
        self._distributions: dict[str, BaseDistribution] = {}

    # -- transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes in the block are stored together at its end, or, if it is left by an error, none of them.

        Creating a trial is a transaction of its own: the database gives it its number.

        Raises:
            UpdateFinishedTrialError: another process has ended or changed a trial meanwhile.
            StorageInternalError: the database cannot be written.
        """
        self._depth += 1
        try:
            yield
            if self._depth == 1:
                self._write()
        except BaseException:
            if self._depth == 1 and (self._stored or self._attributes):
                self._forget()
            raise
        finally:
            self._depth -= 1

    def _write(self) -> None:
        if not self._stored and not self._attributes:
            return
        trials = self._trials()
        try:
            with self._tables.engine.begin() as connection:
                for place, before in self._stored.items():
                    write_trial(connection, before, trials[place])
                if self._attributes:
                    write_study_attributes(connection, self.study_id, self._attributes)
        except SQLAlchemyError as error:
            raise StorageInternalError("the study's database cannot be written") from error
        self._stored, self._attributes = {}, {}

    def _forget(self) -> None:
        self._kept, self._stored, self._attributes = None, {}, {}

    def _trials(self) -> list[FrozenTrial]:
        if self._kept is None:
            self._kept, self._places = [], {}
            self._read_new()
        return self._kept

    def refresh(self) -> None:
        """See what other processes have added."""
        self._trials()
        self._read_new()

    def _read_new(self) -> None:
        assert self._kept is not None  # noqa: S101 (both callers have made it)
        last = self._kept[-1]._trial_id if self._kept else -1
        try:
            with self._tables.engine.connect() as connection:
                found = read_trials(connection, self.study_id, after=last)
        except SQLAlchemyError as error:
            self._forget()
            raise StorageInternalError("the study's database cannot be read") from error
        for trial in found:
            self._places[trial._trial_id] = len(self._kept)
            self._kept.append(trial)

    # -- trials -------------------------------------------------------------------------------------------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """As in Optuna. Stored at once.

        Raises: ValueError if a distribution does not fit that of an earlier trial, or a value its distribution.
        """
        template = template_trial or create_trial(state=TrialState.RUNNING)
        for name, distribution in template.distributions.items():
            self._check_distribution(name, distribution)
        try:
            with self._tables.engine.begin() as connection:
                identity = insert_trial(connection, study_id, template)
        except SQLAlchemyError:  # Optuna's own way is slower, and tries several times
            identity = self._tables.create_new_trial(study_id, template_trial)
        self.refresh()
        return identity

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """As in Optuna.

        Raises: ValueError if the distribution does not fit that of an earlier trial.
        """
        self._check_distribution(param_name, distribution)
        with self._changed(trial_id) as trial:
            trial.params = {**trial.params, param_name: distribution.to_external_repr(param_value_internal)}
            trial.distributions = {**trial.distributions, param_name: distribution}

    def _check_distribution(self, name: str, distribution: BaseDistribution) -> None:
        known = self._distributions.get(name) or self._earlier_distribution(name)
        if known is not None:
            check_distribution_compatibility(known, distribution)
        self._distributions[name] = distribution

    def _earlier_distribution(self, name: str) -> BaseDistribution | None:
        return next((trial.distributions[name] for trial in self._trials() if name in trial.distributions), None)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As in Optuna: False if the trial is to run and does so already."""
        if state is TrialState.RUNNING and self.get_trial(trial_id).state is not TrialState.WAITING:
            self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
            return False
        with self._changed(trial_id) as trial:
            if values is not None:
                trial.values = list(values)
            trial.state = state
            if state is TrialState.RUNNING:
                trial.datetime_start = datetime.now()
            if state.is_finished():
                trial.datetime_complete = datetime.now()
        return True

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """As in Optuna."""
        with self._changed(trial_id) as trial:
            trial.intermediate_values = {**trial.intermediate_values, step: float(intermediate_value)}

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        """As in Optuna; what is read afterwards is what JSON makes of the value."""
        with self._changed(trial_id) as trial:
            trial.user_attrs = {**trial.user_attrs, key: json.loads(json.dumps(value))}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        """As in Optuna; what is read afterwards is what JSON makes of the value."""
        with self._changed(trial_id) as trial:
            trial.system_attrs = {**trial.system_attrs, key: json.loads(json.dumps(value))}

    @contextmanager
    def _changed(self, trial_id: int) -> Iterator[FrozenTrial]:
        """A new object in the trial's place: samplers may still hold the former one."""
        with self.transaction():
            place = self._place(trial_id)
            before = self._trials()[place]
            self.check_trial_is_updatable(trial_id, before.state)
            trial = copy.copy(before)
            yield trial
            self._stored.setdefault(place, before)
            self._trials()[place] = trial

    def _place(self, trial_id: int) -> int:
        self._trials()
        if trial_id not in self._places:
            raise KeyError(f"the study has no trial of identity {trial_id}")
        return self._places[trial_id]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """As in Optuna. A copy while the trial runs: `optuna.Trial` notes in it what it draws."""
        trial = self._trials()[self._place(trial_id)]
        if trial.state.is_finished():
            return trial
        own = copy.copy(trial)
        for name in ("params", "distributions", "user_attrs", "system_attrs", "intermediate_values"):
            setattr(own, name, dict(getattr(trial, name)))
        return own

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As in Optuna."""
        found = list(self._trials())
        if states is not None:
            found = [trial for trial in found if trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """As in Optuna. Raises KeyError if there is no such trial."""
        trials = self._trials()
        if not 0 <= trial_number < len(trials):
            raise KeyError(f"the study has no trial {trial_number}")
        return trials[trial_number]._trial_id

    # -- the study ----------------------------------------------------------------------------------------------------

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        """As in Optuna."""
        with self.transaction():
            self._attributes[key] = value

    def has_study_system_attr(self, key: str) -> bool:
        """Whether the study has it: without reading all, which are two for each trial (its note)."""
        if key in self._attributes:
            return True
        with self._tables.engine.connect() as connection:
            return has_study_attribute(connection, self.study_id, key)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """As in Optuna, which people's own programs may change at any time: always read."""
        return {**self._tables.get_study_system_attrs(study_id), **self._attributes}

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401
        """As in Optuna. Stored at once."""
        self._tables.set_study_user_attr(study_id, key, value)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """As in Optuna."""
        return self._tables.get_study_user_attrs(study_id)

    def get_study_id_from_name(self, study_name: str) -> int:
        """As in Optuna."""
        return self._tables.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """As in Optuna."""
        return self._tables.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """As in Optuna."""
        return self._tables.get_study_directions(study_id)

    def get_all_studies(self) -> list[Any]:
        """As in Optuna."""
        return self._tables.get_all_studies()

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> NoReturn:
        """Refused: this is the storage of one study."""
        raise NotImplementedError("the storage of one study makes no other")

    def delete_study(self, study_id: int) -> None:
        """As in Optuna."""
        self._tables.delete_study(study_id)
        self._forget()

    def remove_session(self) -> None:
        """Let go of the database."""
        self._tables.remove_session()
        self._tables.engine.dispose()
