"""The model answers while trials still run: what the evaluation is bound to ask, as far as that is known by then.

Answers are stored by their content. The evaluation at the end asks all its prompts as always, and finds these known. So
its table is the same whatever was asked here, and whatever went wrong here is asked again there. A trial that drops out
of the best ones later was asked for nothing; nobody sees those answers.

The model's workers have their places before the first trial starts, and trials have the rest of the cluster.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from selector.errors import UserError
from sweep.driver.looks import look_of, source_of
from sweep.driver.session import Session
from sweep.evaluation.evaluate import first_prompts
from sweep.evaluation.rows import Panel
from sweep.execution.events import TrialEnded, TrialStarted
from sweep.plan.plan import EvaluationPlan, Plan
from sweep.results.evaluations import Purpose, choose_name
from sweep.results.ledger import begin_look
from sweep.results.policies import Policy, given_policies, panel_of, policies
from sweep.settings.vlm import WorkerSettings
from sweep.study import TrialSummary
from sweep.study.ranking import rank
from sweep.trials.messages import EpochResult
from sweep.vlm.service import AnswerService
from sweep.vlm.work import WorkItem

logger = logging.getLogger(__name__)

SECONDS_TO_PLACE = 60.0
"""How long trials wait for the places of the model's workers."""
LOOK_SECONDS = 0.2


class Overlap:
    """Asks in a thread of its own. An observer of the trials, since each one that ends may be among the best."""

    def __init__(
        self, plan: Plan, evaluation: EvaluationPlan, session: Session, service: AnswerService, command: str
    ) -> None:
        """Prepare.

        Args:
            plan: the run's.
            evaluation: the plan's.
            session: the hold on the run.
            service: this object's alone until `end`.
            command: of the command line, for the ledger.
        """
        self.service = service
        self.look: str | None = None
        """What the ledger calls the look that has begun. None: nothing was asked yet."""
        self._purpose, self._is_declared = Purpose(command), plan.request.is_declared
        self._plan, self._evaluation, self._paths = plan, evaluation, session.paths
        self._say, self._pulse = session.say, session.pulse
        self._changed = threading.Condition()
        self._ranked: Sequence[TrialSummary] | None = None
        self._summaries: Callable[[], Sequence[TrialSummary]] = list
        self._ended = False
        self._first = threading.Event()  # all that needs no trial is asked, or nothing more is
        self._asked: set[WorkItem] = set()
        self._answered = 0
        self._thread = threading.Thread(target=self._work, name="overlap", daemon=True)

    # What the trials need of it --------------------------------------------------------------------------------------

    def begin(self, summaries: Callable[[], Sequence[TrialSummary]]) -> None:
        """Ask what needs no new trial. Returns when the workers have their places. `summaries`: those of the study."""
        most = beside_trials(self._evaluation.vlm.workers)
        self._summaries = summaries
        ranked = rank(summaries())
        self._ranked = ranked if any(row.is_complete for row in ranked) else None  # of an earlier driver
        self.service.limit_workers(most)
        self._thread.start()
        deadline = time.monotonic() + SECONDS_TO_PLACE
        while len(self.service.placed) < (most or 1) and time.monotonic() < deadline:
            if self._first.wait(LOOK_SECONDS):
                return

    def held(self) -> Mapping[str, tuple[float, float]]:
        """As `Beside`: what the model's workers hold."""
        each, found = self._evaluation.vlm.workers, dict[str, tuple[float, float]]()
        for node in self.service.placed:
            cpus, gpus = found.get(node, (0.0, 0.0))
            found[node] = cpus + each.cpus, gpus + each.gpus
        return found

    def started(self, event: TrialStarted) -> None:
        """Nothing is known of it yet."""

    def epoch(self, result: EpochResult) -> None:
        """Only complete trials are compared."""

    def ended(self, event: TrialEnded) -> None:
        """One that is among the best so far is asked, unless a newer one takes its turn."""
        if event.trial.is_complete:
            with self._changed:
                self._ranked = rank(self._summaries())
                self._changed.notify()

    def give_way(self, reason: str) -> None:
        """As `Beside`: ask nothing more while trials run, and leave the whole cluster to them."""
        self.end(now=True)
        self.service.close()
        self._say(f"evaluation.overlap: {reason}, so the model answers when the trials have ended")

    def end(self, *, now: bool) -> None:
        """No more is asked. What is in work is waited for, unless `now`."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if now:
            self.service.stop()
        if self._thread.is_alive():
            self._thread.join()
            self._pulse.prompts(self._answered, 0)
            self._say(f"answered {self._answered} prompts while trials ran")
        self.service.limit_workers(None)

    # The thread ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._ask(given_policies(self._paths, self._evaluation.settings))
            self._first.set()
            while (ranked := self._next()) is not None:
                self._ask(self._best(ranked))
        except Exception as error:  # the evaluation asks again, and ends with what is wrong if it still is
            logger.exception("nothing more is asked beside the trials")
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._say(f"no more is answered while trials run: {reason}")
        finally:
            self._first.set()

    def _next(self) -> Sequence[TrialSummary] | None:
        """All trials as soon as another one is complete. None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._ranked is not None)
            ranked, self._ranked = self._ranked, None
            return None if self._ended else ranked

    def _best(self, ranked: Sequence[TrialSummary]) -> list[Policy]:
        settings = self._evaluation.settings
        shots = settings.shot_numbers[-1]
        return policies(self._paths, ranked, settings.top, settings.epochs_per_trial, shots=shots)

    def _ask(self, found: Sequence[Policy]) -> None:
        settings, table = self._evaluation.settings, self._evaluation.items
        panel = panel_of(self._plan.dataset, table, settings.split, found, settings)
        missing = [item for item in first_prompts(panel, settings) if item not in self._asked]
        for chunk in self._chunks(missing):
            if self._ended:
                return
            if self.look is None:
                self._begin_look(panel)
            given = self.service.answer_all(chunk, "answering", failure_limit=1.0, all_may_fail=True, shown=False)
            self._asked.update(given.results)
            self._answered += given.counts.answered

    def _begin_look(self, panel: Panel) -> None:
        source = source_of(self._evaluation, self.service)
        settings = self._evaluation.settings
        name = choose_name(self._paths, self._purpose, settings, source, declared=self._is_declared)
        look = look_of(self._plan, self._evaluation, source, panel, name, self._purpose.command)
        begin_look(self._paths, look)
        self.look = look.look

    def _chunks(self, items: Sequence[WorkItem]) -> Iterator[Sequence[WorkItem]]:
        """Small enough that the end of the trials need not wait long, with all prompts of a query side by side."""
        ordered = sorted(items)
        workers = self._evaluation.vlm.workers
        size = workers.batch * workers.in_flight * max(1, len(self.service.placed))
        yield from (ordered[start : start + size] for start in range(0, len(ordered), size))


@contextmanager
def overlapping(plan: Plan, session: Session, command: str) -> Iterator[Overlap | None]:
    """What asks while trials run, if the space wants that. The trials and their evaluation are in its block."""
    evaluation = plan.evaluation
    if evaluation is None or not evaluation.settings.overlap:
        yield None
        return
    with answer_service(evaluation, session) as service:
        overlap = Overlap(plan, evaluation, session, service, command)
        try:
            yield overlap
        except BaseException:  # an interrupt too: the thread must not outlive Ray
            overlap.end(now=True)
            raise


def answer_service(evaluation: EvaluationPlan, session: Session) -> AnswerService:
    """The model of an evaluation. Its progress is shown, and goes into the driver's sign of life."""
    folder, name = session.paths.shared.answers_folder, session.paths.name
    watch, left_out = session.pulse.answers, session.left_out.by_models
    return AnswerService(evaluation.vlm, evaluation.items, folder, name, session.console, watch, left_out)


def beside_trials(workers: WorkerSettings) -> int | None:
    """How many of the model's workers there are while trials run. None: as many as there is room for.

    On GPUs they are in nobody's way. Where they take what trials are trained on, the space says how many, or it is one.
    """
    return workers.count if workers.count is not None or workers.gpus else 1
