"""Trains again what was trained, and says whether it came out the same. Needs neither Ray nor a GPU.

The trial runs in this process, as it ran on its worker: both stages, the warm-up included, with its number of threads.
It is written to a scratch folder. Nothing of the run changes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from selector.data import Dataset
from selector.model import PointerSelector
from selector.reports import EpochReport
from selector.threads import intra_op_threads
from sweep.errors import RunError
from sweep.evaluation.questions import choose_questions
from sweep.results.compare import compare_sides
from sweep.results.differences import Fault, faults_of
from sweep.results.sides import Side
from sweep.results.trained import Trained
from sweep.results.verify_study import TOLERANCE
from sweep.results.verify_trials import SPEED
from sweep.runs.paths import RunPaths, TrialPaths
from sweep.runs.versions import versions
from sweep.settings.evaluation import SplitName
from sweep.storage.local import stored_at
from sweep.trials.checkpoints import MANIFEST_FILE, read_manifest
from sweep.trials.compute import compute
from sweep.trials.given import keep_given
from sweep.trials.messages import TrialContext
from sweep.trials.stored import step_of
from sweep.trials.trial import Trial, load_shared


class Outcome(StrEnum):
    """How a training came out that was done again."""

    BIT = "equal to the bit"
    TOLERANCE = "equal within tolerance"
    DIFFERENT = "different"
    OTHER_DATA = "not trained: other data"


@dataclass(frozen=True)
class Circumstance:
    """Something that a training may depend on, and that is not as it was. `then` is None where nobody recorded it."""

    what: str
    then: str | None
    now: str


@dataclass(frozen=True)
class Loss:
    """The val_loss of one epoch as it is stored, and as it is now. `now` is None where the training ended before it."""

    step: int
    then: float
    now: float | None

    @property
    def apart(self) -> float:
        """How far they are apart: absolute below 1, relative above. 0 for equal ones, NaN and infinity among them."""
        if self.now is None:
            return math.inf
        if self.then == self.now or (math.isnan(self.then) and math.isnan(self.now)):
            return 0.0
        apart = abs(self.now - self.then) / max(1.0, abs(self.then))
        return apart if math.isfinite(apart) else math.inf


@dataclass(frozen=True)
class Parting:
    """The first epoch whose numbers are not equal to the bit.

    Attributes:
        loss: its val_loss.
        stage: of the epoch.
        numbers: what differs, by the number's name. The times that an epoch took are not compared.
    """

    loss: Loss
    stage: str
    numbers: tuple[Fault, ...]


@dataclass(frozen=True)
class Weights:
    """A stored checkpoint against the weights that the same epoch has now.

    Attributes:
        step: of the epoch.
        equal: whether they are equal to the bit.
        relative: distance as a share of the norm (Frobenius, over all tensors). NaN where there are no weights now.
        agreement: share of the validation questions for which both pick the same demonstrations in the same order.
    """

    step: int
    equal: bool
    relative: float
    agreement: float


@dataclass(frozen=True)
class Reproduction:
    """What came of training again.

    Attributes:
        trained: what was.
        outcome: in short.
        tolerance: of val_loss and of weights. Absolute for a val_loss below 1, relative above.
        epochs: how many were compared.
        parting: where the curves part. None where they do not.
        largest: the val_loss that differs most. None where no epoch was compared.
        weights: stored checkpoints.
        warm_up: whether the warm-up's weights are equal to the bit. None where nobody recorded them.
        circumstances: what is not as it was.
    """

    trained: Trained
    outcome: Outcome
    tolerance: float
    epochs: int = 0
    parting: Parting | None = None
    largest: Loss | None = None
    weights: tuple[Weights, ...] = ()
    warm_up: bool | None = None
    circumstances: tuple[Circumstance, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether the training was reproduced."""
        return self.outcome in (Outcome.BIT, Outcome.TOLERANCE)


def reproduce(
    trained: Trained,
    dataset: Dataset,
    epoch: int | None = None,
    tolerance: float = TOLERANCE,
    say: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Train again, and compare epoch by epoch.

    Args:
        trained: what to train.
        dataset: what it is trained on. If it is not the data of then, nothing is trained.
        epoch: the last epoch to train, whose checkpoint is compared. None: all, and every stored checkpoint.
        tolerance: at least 0. With 0 only what is equal to the bit is the same.
        say: told of each epoch.

    Raises:
        RunError: that epoch is not stored, or `tolerance` is negative.
        CheckpointError: a stored checkpoint is damaged.
    """
    if not 0 <= tolerance < math.inf:
        raise RunError(f"--tolerance {tolerance}: give a number of 0 or more, such as {TOLERANCE}")
    last = _last_epoch(trained, epoch)
    if dataset.fingerprint() != trained.fingerprint:
        other = Circumstance("data fingerprint", trained.fingerprint[:16], dataset.fingerprint()[:16])
        return Reproduction(trained, Outcome.OTHER_DATA, tolerance, circumstances=(other,))
    stored = trained.compute.get("threads")
    threads = stored if isinstance(stored, int) and stored > 0 else torch.get_num_threads()
    with TemporaryDirectory(prefix="sweep-reproduce-") as scratch, intra_op_threads(threads):
        again = _train(trained, dataset, RunPaths(stored_at(Path(scratch)) / "again"), last, say)
        then = [report for report in trained.history if report.step <= last]
        found = Reproduction(
            trained,
            Outcome.DIFFERENT,
            tolerance,
            epochs=len(then),
            parting=next(filter(None, (_parting(report, again.reports.get(report.step)) for report in then)), None),
            largest=max(
                (_loss(report, again.reports.get(report.step)) for report in then),
                key=lambda one: one.apart,
                default=None,
            ),
            weights=tuple(_weights(again, dataset, step) for step in sorted(trained.stored) if epoch in (None, step)),
            warm_up=None if None in (trained.warm_up, again.warm_up) else again.warm_up == trained.warm_up,
            circumstances=again.circumstances(),
        )
        return replace(found, outcome=_outcome(found))


def _last_epoch(trained: Trained, epoch: int | None) -> int:
    """The last epoch to train."""
    if epoch is None:
        return trained.steps
    if epoch not in trained.stored:
        names = ", ".join(map(str, sorted(trained.stored))) or "none"
        raise RunError(f"{trained.label}: epoch {epoch} is not stored; stored are {names}")
    # Without GRPO the one checkpoint is chosen, and written, when the last epoch has ended.
    return epoch if trained.settings.grpo.epochs else trained.steps


def _outcome(found: Reproduction) -> Outcome:
    if found.parting is None and found.warm_up is not False and all(one.equal for one in found.weights):
        return Outcome.BIT
    apart = [0.0 if one.equal else one.relative for one in found.weights]
    if found.largest is not None:
        apart.append(found.largest.apart)
    near = bool(found.tolerance) and all(one <= found.tolerance for one in apart)
    return Outcome.TOLERANCE if near else Outcome.DIFFERENT


# Training -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Again:
    """A training that was done again, in a scratch run of its own."""

    trained: Trained
    paths: TrialPaths
    reports: Mapping[int, EpochReport]
    warm_up: str | None
    compute: Mapping[str, Any]

    def circumstances(self) -> tuple[Circumstance, ...]:
        """What is not as it was."""
        then, now = (
            {**one, **other}
            for one, other in ((self.trained.versions, self.trained.compute), (versions(), self.compute))
        )
        return tuple(
            Circumstance(what, None if what not in then else str(then[what]), str(value))
            for what, value in now.items()
            if what not in then or str(then[what]) != str(value)
        )


def _train(trained: Trained, dataset: Dataset, run: RunPaths, last: int, say: Callable[[str], None]) -> _Again:
    context = TrialContext(
        run_folder=run.root.place,
        session="",
        validation=trained.validation,
        health=trained.health,
        keep_epochs=trained.settings.total_epochs,
        data_fingerprint=trained.fingerprint,
        versions=versions(),
        shots=trained.shots,
        init=None if trained.init is None else trained.init.sha256,
    )
    if trained.init is not None:
        keep_given(run, trained.init)
    on_cpu = trained.compute.get("device") == "cpu"
    data, evaluate = load_shared(dataset, context, 0.0 if on_cpu else 1.0)  # a GPU where there is one
    reports, digest = {}, ""
    for result in Trial(context, run, trained.number, trained.settings, data, evaluate):
        reports[result.report.step], digest = result.report, result.rce_digest
        say(f"epoch {result.report.step} of {last}")
        for folder in run.trial(trained.number).best_folder.glob("step-*"):
            if step_of(folder) not in trained.stored:  # compared with nothing
                folder.remove()
        if result.report.step >= last:
            break
    artifact = run.rce_folder / digest
    warm_up = read_manifest(artifact)["sha256"] if (artifact / MANIFEST_FILE).exists() else None
    return _Again(trained, run.trial(trained.number), reports, warm_up, compute(data.device))


# Comparing ------------------------------------------------------------------------------------------------------------


def _parting(then: EpochReport, now: EpochReport | None) -> Parting | None:
    """What differs in an epoch. None where all is equal to the bit."""
    again = {} if now is None else _timeless(now)
    numbers = faults_of("", _timeless(then), again)
    if not numbers:
        return None
    return Parting(_loss(then, now), then.stage, tuple(numbers))


def _timeless(report: EpochReport) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(report.to_dict()))
    return {name: value for name, value in values.items() if name not in SPEED}


def _loss(then: EpochReport, now: EpochReport | None) -> Loss:
    return Loss(then.step, then.val_loss, None if now is None else now.val_loss)


def _weights(again: _Again, dataset: Dataset, step: int) -> Weights:
    """A stored checkpoint against that of the same epoch."""
    stored, now = again.trained.stored[step], again.paths.epoch(step)
    if not (now / MANIFEST_FILE).exists():
        return Weights(step, False, math.nan, 0.0)
    if read_manifest(stored)["sha256"] == read_manifest(now)["sha256"]:
        return Weights(step, True, 0.0, 1.0)
    sides = [
        Side(label, PointerSelector.from_pretrained(one.local())) for label, one in (("then", stored), ("now", now))
    ]
    questions = choose_questions(dataset, SplitName.VAL, None, 0)
    pair = compare_sides(sides, dataset, questions, again.trained.shots or dataset.picks).pairs[0]
    return Weights(step, False, pair.relative, pair.agreement.order[-1])
