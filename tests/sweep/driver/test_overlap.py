"""The model answers while trials run, and the table is the same. A rule answers in the model's place, without Ray."""

from __future__ import annotations

import io
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.driver.evaluation import evaluate_trials
from sweep.driver.overlap import Overlap, answer_service, beside_trials
from sweep.driver.session import Session, open_session
from sweep.errors import ClusterError
from sweep.execution.events import TrialEnded
from sweep.execution.ray.nodes import Nodes
from sweep.execution.ray.options import RayOptions
from sweep.plan.plan import Plan
from sweep.results.evaluations import Purpose
from sweep.results.ledger import count_looks, read_ledger
from sweep.runs.paths import RunPaths
from sweep.settings.vlm import WorkerSettings
from sweep.space import Resources
from sweep.study import TrialSummary, read_summaries
from sweep.study.ranking import rank
from sweep.vlm.service import AnswerService
from sweep.vlm.work import Result, WorkItem
from tests.sweep.commands import wait_for
from tests.sweep.execution.ray.made_nodes import node
from tests.sweep.finished import rule
from tests.sweep.plans import plan_of_run, screen_on


class Ruled(AnswerService):
    """Answers by a rule. `asked` has what the store did not know, call by call."""

    asked: list[list[WorkItem]]
    broken = False
    closed = False

    @property
    def placed(self) -> Sequence[str]:
        return ["1"] if self.asked and not self.closed else []

    def close(self) -> None:
        self.closed = True

    def start_ahead(self, items: Iterable[WorkItem], *, score: bool = False) -> None:
        """A rule needs no workers."""

    def _dispatch(
        self, what: str, items: Sequence[WorkItem], score: bool, *, shown: bool
    ) -> Generator[tuple[WorkItem, Result], None, None]:
        if self.broken:
            raise ClusterError("no worker can be had")
        self.asked.append(list(items))
        yield from ((item, rule(self._table, item)) for item in items)


@contextmanager
def opened(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Plan, Session, list[TrialSummary], Ruled]]:
    """A finished run whose answers and evaluations are forgotten."""
    shutil.rmtree(run.parent / "_shared" / "answers", ignore_errors=True)
    shutil.rmtree(run / "evaluations")
    (run / "ledger.jsonl").unlink(missing_ok=True)
    paths = RunPaths.at(run)
    plan = plan_of_run(paths)
    assert plan.evaluation is not None
    settings = plan.evaluation.settings
    settings = settings.replace(finalists=settings.finalists.replace(seeds=0), overlap=True)
    plan = replace(plan, evaluation=replace(plan.evaluation, settings=settings))
    with open_session(paths, RayOptions(), screen_on(io.StringIO())) as session:
        monkeypatch.setattr(session, "cluster", lambda size: None)
        rows = read_summaries(session.record.storage_url(paths), session.record.study)
        service = answer_service(plan.evaluation, session)
        service.__class__ = Ruled
        assert isinstance(service, Ruled)
        service.asked = []
        yield plan, session, rows, service


def stored(run: Path) -> tuple[bytes, bytes]:
    folder = run / "evaluations" / "declared"
    return (folder / "evaluation.json").read_bytes(), (folder / "answers.parquet").read_bytes()


def asking(plan: Plan, session: Session, service: Ruled, rows: Sequence[TrialSummary]) -> Overlap:
    assert plan.evaluation is not None
    overlap = Overlap(plan, plan.evaluation, session, service, "run")
    overlap.begin(lambda: rows)
    return overlap


def end_of(trial: TrialSummary) -> TrialEnded:
    return TrialEnded(trial, trial, {})


@pytest.fixture
def without(copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A run whose evaluation began when all trials had ended."""
    run = tmp_path / "without" / "mine"
    shutil.copytree(copy.parent, run.parent)
    with opened(run, monkeypatch) as (plan, session, rows, service):
        monkeypatch.setattr("sweep.driver.evaluation.answer_service", lambda *parts: service)
        evaluate_trials(plan, rank(rows), session, Purpose("run"))
    return run


def test_the_table_is_the_same_to_the_bit_and_nothing_is_asked_twice(
    copy: Path, without: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(copy, monkeypatch) as (plan, session, rows, service):
        seen: list[TrialSummary] = []
        overlap = asking(plan, session, service, seen)
        references = {item for call in service.asked for item in call}
        for row in rows:
            seen.append(row)
            overlap.ended(end_of(row))
        wait_for(lambda: sum(map(len, service.asked)) > len(references), 20)
        overlap.end(now=False)
        beside = sum(map(len, service.asked))
        evaluate_trials(plan, rank(rows), session, Purpose("run"), overlap)
        asked = [item for call in service.asked for item in call]
    assert stored(copy) == stored(without)
    assert len(asked) == len(set(asked))
    assert references and len(references) < beside < len(asked), "racing asks the rest of the questions at the end"
    looks = [count_looks(read_ledger(RunPaths.at(run).ledger_file)) for run in (copy, without)]
    assert looks[0] == looks[1] and looks[0].looks == 1 and looks[0].unfinished == 0


def test_a_resumed_run_asks_for_the_trials_that_are_complete(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(copy, monkeypatch) as (plan, session, rows, service):
        overlap = asking(plan, session, service, rows)
        wait_for(lambda: len(service.asked) > 1, 20)
        overlap.end(now=False)


def test_an_interrupted_one_has_begun_its_look(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(copy, monkeypatch) as (plan, session, rows, service):
        overlap = asking(plan, session, service, rows)
        overlap.end(now=True)
        overlap.ended(end_of(rows[0]))  # too late
    found = count_looks(read_ledger(RunPaths.at(copy).ledger_file))
    assert (found.looks, found.unfinished) == (1, 1)


def test_what_goes_wrong_beside_the_trials_is_no_matter_of_theirs(
    copy: Path, without: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(copy, monkeypatch) as (plan, session, rows, service):
        service.broken = True
        overlap = asking(plan, session, service, rows)
        overlap.ended(end_of(rows[0]))
        overlap.end(now=False)
        service.broken = False
        evaluate_trials(plan, rank(rows), session, Purpose("run"), overlap)
    assert stored(copy) == stored(without)


@pytest.mark.parametrize(("cpus", "expected", "told"), [(3, 2, ""), (1, 1, "evaluation.overlap: no trial would")])
def test_trials_have_the_room_that_the_models_workers_leave(
    copy: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, expected: int, told: str
) -> None:
    lines: list[str] = []
    with opened(copy, monkeypatch) as (plan, session, rows, service):
        monkeypatch.setattr(session, "say", lines.append)
        overlap = asking(plan, session, service, rows)
        nodes = Nodes(Resources(), overlap, look=lambda: [node("1", cpus)])
        assert nodes.room() == expected
        assert bool(overlap.held()) is not bool(told), "where there is no room for both, trials have it"
        overlap.end(now=True)
    assert any(line.startswith(told) for line in lines) and (told or not any("room" in line for line in lines))


@pytest.mark.parametrize(
    ("workers", "expected"),
    [({}, 1), ({"count": 3}, 3), ({"gpus": 1}, None), ({"gpus": 0.5, "count": 2}, 2)],
)
def test_workers_beside_trials(workers: dict[str, float], expected: int | None) -> None:
    assert beside_trials(WorkerSettings.model_validate(workers)) == expected
