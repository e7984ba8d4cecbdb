"""The best of a run: the stored epoch that the winner by answers, or else the best trial by val_loss, stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selector.errors import CheckpointError
from sweep.errors import RunError
from sweep.evaluation.records import Evaluation
from sweep.results.evaluations import DECLARED, main_name
from sweep.results.policies import winner_checkpoint
from sweep.runs.paths import RunPaths
from sweep.storage.path import StoredPath
from sweep.study import TrialSummary
from sweep.trials.checkpoints import check_files
from sweep.trials.stored import best_checkpoint


@dataclass(frozen=True)
class Best:
    """What `export` takes if nobody names a trial.

    Attributes:
        trial: its number.
        chosen: by what it is the best.
        folder: its checkpoint. None where it is gone.
        gone: what is not there, or damaged. Empty where all is well.
    """

    trial: int
    chosen: str
    folder: StoredPath | None
    gone: str = ""


def best_of(paths: RunPaths, ranked: Sequence[TrialSummary], evaluation: Evaluation | None) -> Best | None:
    """The best of a run, and whether its checkpoint is there. None without a complete trial.

    Args:
        paths: of the run.
        ranked: all trials, the complete ones first, best on top.
        evaluation: the main one, if there is any.
    """
    if evaluation is not None and evaluation.winner.trial is not None:
        winner = evaluation.winner
        name = main_name(paths)
        by = "" if name == DECLARED else f" (evaluation {name})"
        chosen = f"best by the answers to held-out questions{by}: {winner.row}"
        folder = winner_checkpoint(paths, evaluation)
        if folder is None:
            return Best(evaluation.winner.trial, chosen, None, f"the checkpoint of {winner.row} is gone")
        return _checked(evaluation.winner.trial, chosen, folder)
    if not ranked or not ranked[0].is_complete:
        return None
    chosen = "best of all complete trials by val_loss on the validation split"
    try:
        return _checked(ranked[0].number, chosen, best_epoch(paths, ranked[0]))
    except (RunError, CheckpointError) as error:
        return Best(ranked[0].number, chosen, None, str(error))


def best_epoch(paths: RunPaths, row: TrialSummary) -> StoredPath:
    """The checkpoint of the epoch that stands for a trial, and never a lesser one in its place.

    Raises:
        RunError: it is gone, or the trial has none.
        CheckpointError: a manifest is damaged.
    """
    if row.standing.best_step is None:  # the trial has not ended, or is of version 0.1
        return best_checkpoint(paths, row.number)
    folder = paths.trial(row.number).epoch(row.standing.best_step)
    if not folder.exists():
        raise RunError(f"{folder}: missing, the best epoch of trial {row.number}")
    return folder


def _checked(trial: int, chosen: str, folder: StoredPath) -> Best:
    try:
        check_files(folder)
    except CheckpointError as error:
        return Best(trial, chosen, None, str(error))
    return Best(trial, chosen, folder)
