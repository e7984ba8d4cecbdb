"""The model's workers are started as soon as no trial needs their room, before there is a prompt for them.

They load the model while Ray Tune winds down, the trials are ranked and the best selectors choose demonstrations.
Workers that answered for the collection are not kept for this: while trials run they would hold their memory, and
their GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from sweep.driver.overlap import answer_service
from sweep.driver.session import Session
from sweep.evaluation.evaluate import first_prompts
from sweep.plan.plan import EvaluationPlan, Plan
from sweep.results.policies import panel_of
from sweep.vlm.service import AnswerService

logger = logging.getLogger(__name__)


class ModelStart:
    """The model of a run's evaluation, from the end of its trials on. Made at its first use."""

    look: str | None = None
    """Nothing is asked yet, so the ledger knows of no look."""

    def __init__(self, plan: Plan, evaluation: EvaluationPlan, session: Session) -> None:
        """`evaluation`: the plan's."""
        self._plan, self._evaluation, self._session = plan, evaluation, session

    @cached_property
    def service(self) -> AnswerService:
        """What will be asked."""
        return answer_service(self._evaluation, self._session)

    def trials_ended(self) -> None:
        """Start the workers, unless finalists are trained first: those need the room. Returns at once."""
        finalists = self._evaluation.settings.finalists
        if finalists.count and finalists.seeds:
            return
        try:
            start_workers(self._plan, self._evaluation, self.service)
        except Exception:  # the evaluation starts them again, and ends with what is wrong if it still is
            logger.exception("the model's workers are not started ahead")

    def close(self) -> None:
        """End the workers, if there are any."""
        if "service" in self.__dict__:
            self.service.close()


def start_workers(plan: Plan, evaluation: EvaluationPlan, service: AnswerService) -> None:
    """Start the workers if prompts that need no trial have no answer yet. Does not wait for them.

    Raises:
        as `AnswerService.start_ahead`.
    """
    settings = evaluation.settings
    references = panel_of(plan.dataset, evaluation.items, settings.split, [], settings)
    service.start_ahead(first_prompts(references, settings))


@contextmanager
def starting_model(plan: Plan, session: Session) -> Iterator[ModelStart | None]:
    """For the trials and the evaluation in its block. None where the model is not asked, or asked beside the trials."""
    if plan.evaluation is None or plan.evaluation.settings.overlap:
        yield None
        return
    model = ModelStart(plan, plan.evaluation, session)
    try:
        yield model
    finally:
        model.close()
