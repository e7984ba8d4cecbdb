"""When the model's workers are started, and when they are not. A rule answers in the model's place, without Ray."""

from __future__ import annotations

import io
import shutil
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sweep.driver import evaluation as module
from sweep.driver.evaluation import evaluate_trials
from sweep.driver.model_start import ModelStart, starting_model
from sweep.driver.overlap import answer_service
from sweep.driver.session import Session, open_session
from sweep.errors import ClusterError
from sweep.execution.ray.options import RayOptions
from sweep.plan.plan import Plan
from sweep.results.evaluations import Purpose
from sweep.runs.paths import RunPaths
from sweep.study import TrialSummary, read_summaries
from sweep.study.ranking import rank
from sweep.vlm.service import AnswerService
from sweep.vlm.work import Result, WorkItem
from tests.sweep.finished import rule
from tests.sweep.plans import plan_of_run, screen_on


class Pool:
    """In a pool's place. `events` has what happens to it, in order."""

    def __init__(self, events: list[str], broken: bool) -> None:
        self.events, self.broken = events, broken

    def start(self, items: int) -> None:
        assert items > 0
        if self.broken:
            raise ClusterError("no worker fits")
        self.events.append("workers start")

    def __exit__(self, *error: object) -> None:
        self.events.append("workers end")


class Watched(AnswerService):
    """Answers by a rule, and says when its pool is opened and asked."""

    events: list[str]
    broken = False

    def _opened(self) -> Pool:  # type: ignore[override]
        if self._pool is None:
            self._pool = Pool(self.events, self.broken)  # type: ignore[assignment]
        return self._pool  # type: ignore[return-value]

    def _dispatch(
        self, what: str, items: Sequence[WorkItem], score: bool, *, shown: bool
    ) -> Generator[tuple[WorkItem, Result], None, None]:
        self._opened()
        self.events.append("asked")
        yield from ((item, rule(self._table, item)) for item in items)


@dataclass
class World:
    """A finished run whose answers are forgotten, with one session on it."""

    plan: Plan
    session: Session
    ranked: list[TrialSummary]
    events: list[str]

    def with_finalists(self, seeds: int) -> Plan:
        assert self.plan.evaluation is not None
        settings = self.plan.evaluation.settings
        settings = settings.replace(finalists=settings.finalists.replace(seeds=seeds))
        return replace(self.plan, evaluation=replace(self.plan.evaluation, settings=settings))

    def model(self, plan: Plan, *, broken: bool = False) -> ModelStart:
        assert plan.evaluation is not None
        model = ModelStart(plan, plan.evaluation, self.session)
        model.service = self.service(plan, broken=broken)
        return model

    def service(self, plan: Plan, *, broken: bool = False) -> Watched:
        assert plan.evaluation is not None
        service = answer_service(plan.evaluation, self.session)
        service.__class__ = Watched
        assert isinstance(service, Watched)
        service.events, service.broken = self.events, broken
        return service


@pytest.fixture
def world(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    shutil.rmtree(copy.parent / "_shared" / "answers", ignore_errors=True)
    shutil.rmtree(copy / "evaluations")
    paths = RunPaths.at(copy)
    with open_session(paths, RayOptions(), screen_on(io.StringIO())) as session:
        monkeypatch.setattr(session, "cluster", lambda size: None)
        rows = read_summaries(session.record.storage_url(paths), session.record.study)
        found = World(plan_of_run(paths), session, rank(rows), [])

        def noted(name: str) -> None:
            before = getattr(module, name)

            def call(*args: object) -> object:
                found.events.append(name)
                return before(*args)

            monkeypatch.setattr(module, name, call)

        noted("policies")
        yield found


def test_workers_start_when_the_trials_have_ended_and_stay_for_the_evaluation(world: World) -> None:
    plan = world.with_finalists(0)
    model = world.model(plan)
    model.trials_ended()
    assert world.events == ["workers start"]
    evaluate_trials(plan, world.ranked, world.session, Purpose("run"), model)
    assert world.events[:3] == ["workers start", "policies", "asked"]
    assert set(world.events[3:]) <= {"asked"}, "started once, and asked in stages of the race"
    model.close()
    assert world.events[-1] == "workers end"


def test_finalists_have_the_room_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def retrain(*args: object) -> Iterator[object]:
        world.events.append("finalists")
        return iter(())

    monkeypatch.setattr(module, "retrain_all", retrain)
    monkeypatch.setattr(module, "finalists", lambda *args: ["one"])
    plan = world.with_finalists(2)
    model = world.model(plan)
    model.trials_ended()
    assert world.events == []
    evaluate_trials(plan, world.ranked, world.session, Purpose("run"), model)
    assert world.events[:4] == ["finalists", "workers start", "policies", "asked"]


def test_nothing_is_started_where_all_answers_are_known(world: World) -> None:
    plan = world.with_finalists(0)
    first = world.model(plan)
    evaluate_trials(plan, world.ranked, world.session, Purpose("run"), first)
    del world.events[:]
    again = world.model(plan)
    again.trials_ended()
    evaluate_trials(plan, world.ranked, world.session, Purpose("run"), again)
    again.close()
    assert world.events == ["policies"]


def test_a_run_that_does_not_evaluate_starts_nothing(world: World) -> None:
    with starting_model(replace(world.plan, evaluation=None), world.session) as model:
        assert model is None
    with starting_model(world.plan, world.session) as model:
        assert model is not None
    assert world.events == [] and "service" not in vars(model), "not even the model is looked at"


def test_with_overlap_the_workers_are_up_already(world: World) -> None:
    assert world.plan.evaluation is not None
    settings = world.plan.evaluation.settings.replace(overlap=True)
    plan = replace(world.plan, evaluation=replace(world.plan.evaluation, settings=settings))
    with starting_model(plan, world.session) as model:
        assert model is None


def test_a_start_that_fails_is_left_to_the_evaluation(world: World) -> None:
    plan = world.with_finalists(0)
    model = world.model(plan, broken=True)
    model.trials_ended()
    model.close()
    with pytest.raises(ClusterError, match="no worker fits"):
        evaluate_trials(plan, world.ranked, world.session, Purpose("run"), model)


def test_an_error_in_the_block_ends_the_workers(world: World) -> None:
    plan = world.with_finalists(0)
    with pytest.raises(KeyboardInterrupt), starting_model(plan, world.session) as model:
        assert model is not None
        model.service = world.service(plan)
        model.trials_ended()
        raise KeyboardInterrupt
    assert world.events == ["workers start", "workers end"]
