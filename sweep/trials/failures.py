"""Failures on a worker: whether its node is at fault, the trial alone, or what other trials may meet as well."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

from selector.errors import UserError
from sweep.errors import RunError
from sweep.runs.paths import RunPaths
from sweep.storage.home import HomePath
from sweep.storage.outage import describe_os_error
from sweep.trials.messages import TrialContext


@dataclass(frozen=True)
class Cause:
    """What failures have in common: the kind of an exception and the line that raised it.

    Attributes:
        text: equal for equal causes.
        outside: whether it cannot lie in the settings of a trial, such as a file system or a package that is missing.
    """

    text: str
    outside: bool


def cause_of(error: Exception, *, shared: bool) -> Cause | None:
    """The cause of a failure. None where it is the trial's own.

    Settings that cannot be trained are the trial's own, and so is memory that does not suffice for its model.

    Args:
        error: any but an outage.
        shared: whether it was raised before the trial's settings were used at all.
    """
    if not shared and isinstance(error, UserError | torch.OutOfMemoryError):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    outside = shared or isinstance(error, OSError | ImportError) or "CUDA error" in str(error)
    return Cause(f"{type(error).__name__}{where}", outside)


class UnfitNodeError(RunError):
    """Nothing of ours may run on this node."""


class RunUnseenError(UnfitNodeError):
    """The process does not see the folder that the driver works on, so nothing may be written."""


def reached(context: TrialContext) -> RunPaths:
    """The run as this process reaches it: in its folder, or through the driver's machine where that is not seen here.

    Raises:
        RunError: storage elsewhere cannot be opened, or there is no room for working copies.
    """
    run = RunPaths.at(context.run_folder)
    if context.home is None or run.root.is_remote:
        return run
    try:
        check_seen(run, context.session)
    except RunUnseenError:
        return RunPaths(HomePath.open(context.home))
    return run


def check_seen(run: RunPaths, session: str) -> None:
    """Make sure that this process sees the folder that the driver works on.

    A folder of this name that is another one, such as the same run on a disk of another machine, does not count.

    Args:
        run: as this process opens it.
        session: names the driver's mark.

    Raises:
        RunUnseenError: it does not.
        OSError: storage elsewhere cannot be reached.
    """
    try:
        if run.driver_mark(session).exists():
            return
    except OSError as error:
        if run.root.is_remote:
            raise
        raise RunUnseenError(describe_os_error(error)) from None
    raise RunUnseenError(
        f"{run.shown} is not there, or is another folder than the driver's; every node must see the runs under one "
        "path, or they must be on storage that all nodes reach (docs/storage.md)"
    )


def blamed_on_folder(error: Exception, run: RunPaths, context: TrialContext) -> Exception:
    """What was raised, or a RunUnseenError where the folder is gone: then anything may be raised, on any file."""
    if run.root.is_remote:
        return error
    try:
        check_seen(run, context.session)
    except RunUnseenError as unseen:
        return unseen
    return error
