"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sweep.runs.record import STORAGE
from sweep.storage.local import stored_at
from sweep.storage.open import open_folder
from sweep.storage.path import StoredPath


def _opened(runs: str | StoredPath) -> StoredPath:
    """What `--runs` names. The default is a handle already."""
    return runs if isinstance(runs, StoredPath) else open_folder(runs)


Space = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped space such as spaces/grpo.yaml.")]

RunName = Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's folder or name; default: the newest.")]

Runs = Annotated[
    StoredPath,
    typer.Option(
        "--runs", metavar="FOLDER", parser=_opened, help="Folder that holds the runs, or its URI: s3://bucket/runs."
    ),
]

Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        envvar=STORAGE,
        show_envvar=True,
        help="The study's database, for a run that keeps it outside its folder.",
    ),
]

Data = Annotated[Path | None, typer.Option("--data", help="Data folder or RL-data JSON, instead of the space's.")]

Moved = Annotated[Path | None, typer.Option("--data", help="Where the run's data is now, if it was moved.")]

Embeddings = Annotated[Path | None, typer.Option("--embeddings", help="Embedding file, if not beside the data.")]

Address = Annotated[str | None, typer.Option("--address", help="Join this Ray cluster (`auto`, host:port).")]

JoinOrHandIn = Annotated[
    str | None,
    typer.Option(
        "--address", help="Join this Ray cluster (`auto`, host:port), or hand the run in at this dashboard (URL)."
    ),
]

Server = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="The dashboard of the Ray cluster that the run is handed in to.",
    ),
]

Verify = Annotated[
    str | None,
    typer.Option(
        "--verify", metavar="FILE|no", help="Authorities for the certificate of an https address, or no check at all."
    ),
]

Follow = Annotated[bool, typer.Option("--follow", help="Print what the job says, until it is over.")]

Cpus = Annotated[int | None, typer.Option("--cpus", min=1, help="Cores for a Ray started here; default: all.")]

Dashboard = Annotated[
    bool, typer.Option("--dashboard/--no-dashboard", help="Whether a Ray started here brings its dashboard.")
]

MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", min=1024, max=65535, help="Port of a local Ray's Prometheus endpoint; default: any free one."
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, for programs (docs/json.md).")]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="A value instead of the file's, such as budget.trials=8; may be repeated."
    ),
]


class LogService(StrEnum):
    """What `--log` takes: the sections of `loggers`."""

    WANDB = "wandb"
    MLFLOW = "mlflow"


Log = Annotated[
    list[LogService] | None,
    typer.Option("--log", help="Have this service follow the run; may be repeated (loggers in the space)."),
]
Detach = Annotated[bool, typer.Option("--detach", help="Go on without a terminal; return when the run is at work.")]

RUNS = stored_at(Path("runs"))


def with_loggers(overrides: list[str] | None, log: list[LogService] | None) -> tuple[str, ...]:
    """The assignments of `--set`, and those that `--log` is short for."""
    return (*(overrides or ()), *(f"loggers.{service}={{}}" for service in log or ()))
