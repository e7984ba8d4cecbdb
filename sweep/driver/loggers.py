"""The services that follow a run: which its space asks for, and what they get when it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from sweep.driver.session import Session
from sweep.errors import RunError
from sweep.execution.loggers.follow import Ending, Followed, Loggers, Service
from sweep.execution.loggers.mlflow_logger import MlflowLogger
from sweep.execution.loggers.wandb_logger import WandbLogger
from sweep.plan.plan import Plan
from sweep.results.evaluations import evaluations
from sweep.results.outcome import RunOutcome
from sweep.settings.loggers import LoggersSettings
from sweep.space import canonical
from sweep.storage.hashes import canonical_hash
from sweep.study import StudyOwner
from sweep.terminal.outlet import write_error

SECRET = ("notify", "storage")
"""Sections that may hold a password, or an address that is one."""


def open_loggers(settings: LoggersSettings) -> Loggers:
    """The services that a space asks for. Nothing is sent yet.

    Raises:
        RunError: a package is missing, or a service cannot be used.
    """
    services: list[Service] = []
    if settings.wandb is not None:
        _check_installed("wandb")
        services.append(WandbLogger(settings.wandb))
    if settings.mlflow is not None:
        _check_installed("mlflow")
        services.append(MlflowLogger(settings.mlflow))
    return Loggers(services, _warn)


def _check_installed(package: str) -> None:
    if find_spec(package) is None:
        raise RunError(
            f"loggers.{package} needs the package {package}, which is not installed: "
            f"pip install 'demonstration-sweep[{package}]'"
        )


def _warn(line: str) -> None:
    write_error(f"warning: {line}\n")


@contextmanager
def on_screen_of(session: Session, loggers: Loggers) -> Iterator[None]:
    """While the session lasts, its screen and log get what the services complain of."""
    loggers.say = session.say
    try:
        yield
    finally:
        loggers.say = _warn


def followed(plan: Plan, session: Session, owner: StudyOwner) -> Followed:
    """The run as services are told of it."""
    paths = session.paths
    return Followed(
        name=paths.name,
        identity=canonical_hash([session.record.study, owner.started])[:16],
        folder=paths.shown,
        settings={name: value for name, value in canonical(plan.space).items() if name not in SECRET},
        scratch=None if paths.root.is_remote else paths.root.local(),
    )


def ending_of(outcome: RunOutcome) -> Ending:
    """How a run ended, with its tables and its report."""
    paths = outcome.paths
    files = {file.name: file for file in (paths.ranking_file, paths.report_file)}
    files |= {f"{place.name}-{place.file.name}": place.file for place in evaluations(paths)}
    state = "interrupted" if outcome.interrupted else "failed" if outcome.exit_code else "finished"
    return Ending(
        state=state,
        verdict="" if outcome.verdict is None else outcome.verdict.sentence,
        files={name: file.local() for name, file in files.items() if file.exists()},
    )
