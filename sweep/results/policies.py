"""The policies of a run that are compared: its shared warm-ups, its best trials, their epochs, its finalists."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from selector.data import Dataset
from selector.errors import CheckpointError
from selector.model import PointerSelector
from sweep.errors import RunError
from sweep.evaluation.questions import choose_questions, images_of
from sweep.evaluation.records import Evaluation
from sweep.evaluation.rows import Panel, PolicyRow, RowKind, build_panel
from sweep.items import ItemTable
from sweep.plan.given import read_rows
from sweep.runs.paths import RunPaths
from sweep.settings.evaluation import EvaluationSettings, SplitName
from sweep.storage.path import StoredPath
from sweep.study import TrialSummary
from sweep.study.ranking import compared
from sweep.trials.checkpoints import read_checkpoint, read_manifest
from sweep.trials.finalists import Retrained
from sweep.trials.given import Given, all_kept, keep_given, kept_given
from sweep.trials.rce_store import RceStore
from sweep.trials.stored import best_epochs, check_epochs, stored_epochs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Policy:
    """A row of the comparison and how its selector is loaded."""

    row: PolicyRow
    load: Callable[[], PointerSelector]


def given_policies(paths: RunPaths, settings: EvaluationSettings) -> list[Policy]:
    """The selectors from elsewhere that an evaluation names. The run keeps a copy of each.

    Raises:
        SpaceError: one of them cannot be read. The message names the row.
    """
    found = read_rows(settings, all_kept(paths))
    for given in found.values():
        keep_given(paths, given)
    return [_given(name, given) for name, given in found.items()]


def _given(name: str, given: Given) -> Policy:
    return Policy(PolicyRow(name, RowKind.CHECKPOINT, checkpoint=given.sha256), lambda: given.model)


def winner_checkpoint(paths: RunPaths, evaluation: Evaluation) -> StoredPath | None:
    """The stored epoch that an evaluation's winner stands for; of a finalist, its fresh seed of lowest val_loss.

    None where no trial was evaluated, or its files are gone.
    """
    if evaluation.winner.row is None:
        return None
    row = evaluation.row(evaluation.winner.row)
    seeds = [seed for one in evaluation.finalists if one.row == row.name for seed in one.seeds]
    best = min(seeds, key=lambda seed: math.inf if seed.val_loss is None else seed.val_loss, default=row)
    for folder in stored_epochs(paths.finalists_folder if seeds else paths.trials_folder):
        if read_manifest(folder)["sha256"] == best.checkpoint:
            return folder
    return None


def policies(
    paths: RunPaths,
    ranked: Sequence[TrialSummary],
    top: int,
    epochs_per_trial: int = 1,
    retrained: Sequence[Retrained] = (),
    shots: int = 0,
) -> list[Policy]:
    """Shared warm-ups, the best complete trials that changed something, and finalists, in this order.

    `shots` is the most demonstrations that the comparison shows.

    Which trials these are, `sweep.study.ranking.compared` says. One whose files are gone or damaged is left out and
    said so in the log.
    """

    def can_load(row: TrialSummary) -> bool:
        try:
            check_epochs(paths, row.number, epochs_per_trial, row.standing.best_step)
        except (RunError, CheckpointError) as error:
            logger.warning("trial %s is left out of the comparison: %s", row.number, error)
            return False
        return True

    rows = compared(ranked, top, can_load, shots)
    trials = [policy for row in rows for policy in _epochs(paths, row, epochs_per_trial)]
    warm_ups = list(_warm_ups(paths, rows or [row for row in ranked if row.is_complete][:1]))
    return [*warm_ups, *trials, *(_finalist(paths, result) for result in retrained if result.step is not None)]


def _epochs(paths: RunPaths, row: TrialSummary, count: int) -> Iterator[Policy]:
    for place, folder in enumerate(best_epochs(paths, row.number, row.standing.best_step)[:count]):
        manifest = read_manifest(folder)
        name = f"trial {row.number}" if place == 0 else f"trial {row.number}, epoch {manifest['step']}"
        yield _policy(name, RowKind.TRIAL if place == 0 else RowKind.EPOCH, folder)


def _finalist(paths: RunPaths, result: Retrained) -> Policy:
    if result.step is None:
        raise ValueError(f"finalist {result.trial} under seed {result.seed} has no checkpoint")
    folder = paths.finalist(result.trial, result.seed).epoch(result.step)
    read_checkpoint(folder)
    return _policy(f"trial {result.trial}, seed {result.seed}", RowKind.FINALIST_SEED, folder)


def _policy(name: str, kind: RowKind, folder: StoredPath) -> Policy:
    """The policy of a stored epoch whose weights were checked."""
    manifest = read_manifest(folder)
    row = PolicyRow(
        name,
        kind,
        trial=manifest["trial"],
        step=manifest["step"],
        seed=manifest["seed"],
        val_loss=manifest["metrics"]["val_loss"],
        checkpoint=manifest["sha256"],
    )
    return Policy(row, lambda: PointerSelector.from_pretrained(folder.local()))


def _warm_ups(paths: RunPaths, rows: Sequence[TrialSummary]) -> Iterator[Policy]:
    """The RCE artifacts that these trials started from, each once."""
    owners: dict[str, int] = {}
    for row in rows:
        if row.standing.rce_digest is not None:
            owners.setdefault(row.standing.rce_digest, row.number)
    for place, (digest, number) in enumerate(owners.items()):
        try:
            yield _warm_up(paths, digest, number, "rce_only" if place == 0 else f"rce_only {digest[:6]}")
        except (RunError, CheckpointError) as error:
            logger.warning("warm-up %s is left out of the comparison: %s", digest[:6], error)


def _warm_up(paths: RunPaths, digest: str, number: int, name: str) -> Policy:
    folder = RceStore(paths.rce_folder).folder_of(digest)
    weights, manifest = read_checkpoint(folder)
    shape = best_epochs(paths, number)[0]  # of the same architecture; its weights are replaced
    losses = [report["val_loss"] for report in manifest["reports"]]
    keep_best = manifest["key"]["settings"]["rce"]["keep"] == "best"
    loss = (min(losses) if keep_best else losses[-1]) if losses else None
    row = PolicyRow(name, RowKind.RCE_ONLY, seed=manifest["seed"], val_loss=loss, checkpoint=manifest["sha256"])

    def load() -> PointerSelector:
        model = PointerSelector.from_pretrained(shape.local())
        model.load_weights(weights, folder.local())
        return model

    return Policy(row, load)


def policy_of(paths: RunPaths, name: str, kind: RowKind, checkpoint: str) -> Policy | None:
    """The policy that a row of an earlier comparison stands for, by the hash of its weights. None if it is gone."""
    if kind is RowKind.CHECKPOINT:
        try:
            given = kept_given(paths, checkpoint)
        except CheckpointError:  # said by others
            return None
        return None if given is None else _given(name, given)
    trials = paths.finalists_folder if kind is RowKind.FINALIST_SEED else paths.trials_folder
    folders = paths.rce_folder.glob("[!.]*") if kind is RowKind.RCE_ONLY else stored_epochs(trials)
    for folder in folders:
        try:
            manifest = read_manifest(folder)
            if manifest["sha256"] != checkpoint:
                continue
            read_checkpoint(folder)
            if kind is not RowKind.RCE_ONLY:
                return _policy(name, kind, folder)
            return _warm_up(paths, folder.name, manifest["trial"], name)
        except (RunError, CheckpointError, KeyError):
            continue
    return None


def panel_of(
    dataset: Dataset,
    table: ItemTable,
    split: SplitName,
    found: Sequence[Policy],
    settings: EvaluationSettings,
) -> Panel:
    """The questions of a split and what every row shows before them."""
    questions = choose_questions(dataset, split, settings.samples, settings.seed, images_of(table))
    return build_panel(dataset, questions, ((one.row, one.load()) for one in found), settings)
