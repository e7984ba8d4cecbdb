"""The bound on a run's disk use: `max_disk_gb` of the space.

Whatever happens, these stay: the study, the run's record, the states of trials that have not ended, the stored epochs
of the trials that a comparison loads, the warm-ups that they or unfinished trials start from, finalists, evaluations.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from selector.errors import UserError
from sweep.execution.events import TrialEnded, TrialStarted
from sweep.runs.paths import RunPaths
from sweep.space import SearchSpace
from sweep.storage.path import StoredPath
from sweep.study import TrialSummary
from sweep.study.ranking import TOP, compared, rank
from sweep.terminal.sizes import GB, size_text
from sweep.trials.checkpoints import MANIFEST_FILE, read_manifest
from sweep.trials.messages import EpochResult
from sweep.trials.rce_store import RceKey
from sweep.trials.stored import best_epochs, check_epochs, stored_epochs

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 30.0


@dataclass(frozen=True)
class Removed:
    """What one kind of files gave back, in bytes."""

    what: str
    count: int
    size: int


class DiskBound:
    """An observer that keeps a run folder below its bound while trials run.

    When the folder is larger, it removes what is neither best nor needed, in this order and no more than it takes:

    1. what killed workers left half-written, in trials that have ended;
    2. stored epochs of failed trials, then of pruned ones;
    3. warm-ups that no stored epoch and no unfinished trial refers to (another trial would train them again);
    4. all but the best stored epoch of complete trials, from the bottom of the ranking, except the first `top`;
    5. TensorBoard events of trials that have ended, complete ones last and from the bottom;
    6. the best epochs of complete trials below the first `top`, from the bottom, and then their warm-ups.

    `top` is what an evaluation of the run compares, and at least as many as the table of held-out queries has. Which
    trials these are, `sweep.study.ranking.compared` says, as it does for the comparison.

    Args:
        paths: of the run.
        space: with the bound; without one nothing is ever done.
        data_fingerprint: of the run's data.
        summaries: all trials, as the study has them now.
        say: shows a line to the user.
        init: hash of the weights that all trials start from, if not the seed's.
    """

    def __init__(
        self,
        paths: RunPaths,
        space: SearchSpace,
        data_fingerprint: str,
        summaries: Callable[[], Sequence[TrialSummary]],
        say: Callable[[str], None],
        init: str | None = None,
    ) -> None:
        self._init = init
        self._paths = paths
        self._space = space
        self._fingerprint = data_fingerprint
        self._summaries = summaries
        self._say = say
        self._looked = 0.0
        self._warned = False

    def started(self, event: TrialStarted) -> None:
        """Nothing to do."""

    def epoch(self, result: EpochResult) -> None:
        """Look now and then."""
        if time.monotonic() - self._looked > SECONDS_BETWEEN_LOOKS:
            self.enforce()

    def ended(self, event: TrialEnded) -> None:
        """There may be something to give up."""
        self.enforce()

    def enforce(self) -> list[Removed]:
        """Remove as much as it takes, and tell. A folder that is still too large gives one warning, not an error."""
        if self._space.max_disk_gb is None:
            return []
        limit = self._space.max_disk_gb * GB
        used = self._paths.root.size()
        removed: list[Removed] = []
        if used > limit:
            removed = self._remove(used - limit)
            used -= sum(one.size for one in removed)
        self._looked = time.monotonic()
        self._tell(removed, used, limit)
        return removed

    def _remove(self, excess: float) -> list[Removed]:
        rows = rank(self._summaries())
        removed = []
        for what, folders in self._order(rows):
            if excess <= 0:
                break
            count = size = 0
            for folder in folders:
                if excess <= 0:
                    break
                found = folder.size()
                folder.remove()
                freed = found - folder.size()
                excess, size, count = excess - freed, size + freed, count + 1
                logger.info("disk bound: removed %s (%d bytes, %s)", folder, freed, what)
            if count:
                removed.append(Removed(what, count, size))
        return removed

    def _order(self, rows: Sequence[TrialSummary]) -> Iterator[tuple[str, Iterator[StoredPath]]]:
        """Kinds of what may go, the first to go first; what a kind holds is looked up when its turn has come."""
        ended = [row for row in rows if row.state.is_finished()]
        incomplete = sorted((row for row in ended if not row.is_complete), key=lambda row: (row.state_name, row.number))
        complete = [row for row in rows if row.is_complete]
        yield "half-written files", (folder for row in ended for folder in self._leftovers(row.number))
        yield "epochs of failed and pruned trials", (step for row in incomplete for step in self._steps(row.number))
        yield "unused warm-ups", self._unused_warm_ups(rows)
        needed = self._needed(complete)
        below = [row for row in reversed(complete) if row.number not in needed]
        yield "second-best epochs", (step for row in below for step in self._second_best(row.number))
        events = (self._paths.trial(row.number).events_folder for row in [*incomplete, *reversed(complete)])
        yield "TensorBoard events", (folder for folder in events if folder.exists())
        yield "epochs of trials far down the ranking", (step for row in below for step in self._steps(row.number))
        yield "their warm-ups", self._unused_warm_ups(rows)

    def _needed(self, complete: Sequence[TrialSummary]) -> set[int]:
        """Trials that a comparison loads, now or by the answers, and the best one whatever it is."""
        evaluation = self._space.evaluation
        top = max(TOP, evaluation.top, evaluation.finalists.count) if evaluation else TOP
        needed = list(complete[:1])
        for epochs in {1, evaluation.epochs_per_trial if evaluation else 1}:
            for shots in {0, self._space.most_shots or 0}:
                needed += compared(complete, top, partial(self._can_load, epochs=epochs), shots)
        return {row.number for row in needed}

    def _can_load(self, row: TrialSummary, epochs: int) -> bool:
        try:
            check_epochs(self._paths, row.number, epochs, row.standing.best_step)
        except UserError:
            return False
        return True

    def _leftovers(self, number: int) -> list[StoredPath]:
        trial = self._paths.trial(number)
        return [path for folder in (trial.best_folder, trial.resume_folder) for path in folder.glob(".step-*")]

    def _steps(self, number: int) -> list[StoredPath]:
        return self._paths.trial(number).best_folder.glob("step-*")

    def _second_best(self, number: int) -> list[StoredPath]:
        try:
            return best_epochs(self._paths, number)[:0:-1]
        except UserError:  # none left, or damaged: for others to say
            return []

    def _unused_warm_ups(self, rows: Sequence[TrialSummary]) -> Iterator[StoredPath]:
        wanted: set[str] = set()
        for row in rows:
            if not row.state.is_finished():
                settings = self._space.resolve(row.params, row.repeat)
                wanted.add(RceKey.of(settings, self._space.validation, self._fingerprint, self._init).digest)
        stored = (self._paths.trials_folder, self._paths.finalists_folder)
        for folder in (step for trials in stored for step in stored_epochs(trials)):
            try:
                wanted.add(read_manifest(folder)["rce"]["digest"])
            except (UserError, KeyError, TypeError):  # damaged: it refers to nothing that could be loaded
                continue
        for file in self._paths.rce_folder.glob(f"[!.]*/{MANIFEST_FILE}"):
            if file.parent.name not in wanted:
                yield file.parent

    def _tell(self, removed: list[Removed], used: float, limit: float) -> None:
        if removed:
            told = ", ".join(f"{one.count} x {one.what} ({size_text(one.size)})" for one in removed)
            line = f"disk: the run is at its bound of {size_text(limit)}; removed {told}"
            logger.warning("%s", line)
            self._say(line)
        if used > limit and not self._warned:
            line = (
                f"disk: the run holds {size_text(used)}, more than its bound of {size_text(limit)}, and all of it is "
                "needed; raise max_disk_gb in its space.yaml, or lower keep_epochs"
            )
            logger.warning("%s", line)
            self._say(line)
        self._warned = used > limit
