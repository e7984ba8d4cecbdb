"""Finalists trained again under fresh seeds.

A sweep's best trial owes part of its rank to its seed: of many trials the luckiest wins. Seeds that took part in tuning
therefore do not decide the winner (Eimer, Lindauer & Raileanu, ICML 2023): the best configurations are trained again
under seeds that no trial has seen, and the spread between those seeds stands in the table.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from selector.batches import TensorData
from selector.settings import TrialSettings
from selector.validation import Evaluator
from sweep.runs.paths import RunPaths
from sweep.storage.outage import is_outage
from sweep.study import TrialSummary
from sweep.study.ranking import best_of_configurations
from sweep.trials.messages import TrialContext
from sweep.trials.trial import Trial

logger = logging.getLogger(__name__)

FIRST_FRESH_SEED = 1_000_000  # trials count up from the space's seed; far beyond what anybody repeats


@dataclass(frozen=True)
class Finalist:
    """One configuration under one fresh seed. `trial` is the trial that it comes from."""

    trial: int
    settings: TrialSettings

    @property
    def seed(self) -> int:
        """The fresh seed."""
        return self.settings.seed


@dataclass(frozen=True)
class Retrained:
    """How a finalist ended. `step` is its best epoch by val_loss, over both stages; None where training failed."""

    trial: int
    seed: int
    step: int | None
    val_loss: float | None
    failure: str | None


def finalists(paths: RunPaths, ranked: Sequence[TrialSummary], count: int, seeds: int) -> list[Finalist]:
    """The best configurations, each under `seeds` fresh seeds.

    One whose stored settings are gone or damaged is left out and said so in the log, as its trial is left out of the
    comparison.

    Args:
        paths: of the run.
        ranked: trials, best first. Of a configuration that was repeated, the best complete trial stands for it.
        count: configurations.
        seeds: fresh seeds of each.
    """
    found: list[Finalist] = []
    for row in best_of_configurations(ranked):
        if len(found) >= count * seeds:
            break
        file = paths.trial(row.number).settings_file
        try:
            settings = TrialSettings.model_validate_json(file.read_bytes())
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and is_outage(error):
                raise
            reason = getattr(error, "strerror", None) or "damaged"
            logger.warning("trial %s cannot be trained again: %s cannot be read (%s)", row.number, file, reason)
            continue
        for index in range(seeds):
            fresh = {**settings.model_dump(), "seed": FIRST_FRESH_SEED + settings.seed + index}
            found.append(Finalist(row.number, TrialSettings.model_validate(fresh)))
    return found


def ended(paths: RunPaths, finalist: Finalist) -> Retrained | None:
    """The result of a finalist whose training has ended; None otherwise."""
    own = paths.finalist(finalist.trial, finalist.seed)
    try:
        values = json.loads(own.result_file.read_bytes())
        step, loss, failure = values["best_step"], values["val_loss"], values["failure"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Retrained(finalist.trial, finalist.seed, step, loss, failure)


def retrain(
    context: TrialContext, run: RunPaths, finalist: Finalist, data: TensorData, evaluate: Evaluator
) -> Retrained:
    """Train a finalist, or continue it from its last stored epoch. Its result is stored last."""
    done = ended(run, finalist)
    if done is not None:
        return done
    own = run.finalist(finalist.trial, finalist.seed)
    result = None
    for result in Trial(context, run, finalist.trial, finalist.settings, data, evaluate, own):  # noqa: B007 (the last one)
        pass
    best = result.best if result is not None else None
    failure = result.stop if result is not None else None
    failure = failure or (None if best else "no epoch with a finite validation loss")
    loss = best.val_loss if best else None
    values = {
        "best_step": best.step if best else None,
        "val_loss": loss,
        "failure": failure,
    }
    own.result_file.write_json(values)
    own.resume_folder.remove()
    return Retrained(finalist.trial, finalist.seed, best.step if best else None, loss, failure)
