"""Commands about the folders of runs: runs rm, runs import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sweep.cli.options import RUNS, Runs
from sweep.errors import RunError
from sweep.results.removal import Removal, SharedPart, plan_removal, remove_runs
from sweep.results.unpack import import_bundle
from sweep.runs.find import find_run
from sweep.terminal.outlet import write
from sweep.terminal.sizes import size_text

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Remove runs, and take in those of others.")


@app.callback()
def runs() -> None:
    """Remove runs, and take in those of others."""


@app.command("rm")
def remove(
    names: Annotated[list[str], typer.Argument(metavar="RUN ...", help="Folders, URIs or names of runs.")],
    shared: Annotated[
        bool,
        typer.Option("--shared", help="Also data, demo items and answers that only these runs need."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Remove runs. What remaining runs need stays, and what no run needs goes only with --shared."""
    removal = plan_removal([find_run(name, runs) for name in names])
    parts = removal.orphans if shared else ()
    for line in _lines(removal, parts):
        write(f"{line}\n")
    if dry_run:
        return
    if not yes and not _agreed():
        raise typer.Exit(1)
    remove_runs(removal, parts)
    write(f"removed {_counted(len(removal.runs), 'run')}\n")


def _lines(removal: Removal, parts: Sequence[SharedPart]) -> list[str]:
    lines = [f"remove {run.shown} ({size_text(size)})" for run, size in zip(removal.runs, removal.bytes, strict=True)]
    for part in removal.shared:
        size = size_text(part.bytes)
        if part.needed_by:
            more = f" and {len(part.needed_by) - 1} more" if len(part.needed_by) > 1 else ""
            lines.append(f"keep   {part.folder} ({size}): {part.needed_by[0]}{more} may need it")
        elif part in parts:
            lines.append(f"remove {part.folder} ({size}): no other run here needs it")
        else:
            lines.append(f"keep   {part.folder} ({size}): no other run here needs it; --shared removes it, too")
    return lines + [f"keep   {name}, in a database outside the run's folder" for name in removal.elsewhere]


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise RunError("nobody can be asked here: say --yes to remove, or --dry-run to look")
    write("remove? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


@app.command("import")
def take_in(
    file: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A file that `export --bundle` wrote.")],
    name: Annotated[str | None, typer.Option("--name", help="The run's name here; default: as it was there.")] = None,
    runs: Runs = RUNS,
) -> None:
    """Unpack a bundle into a folder of runs. Then `status`, `verify` and all other commands can read it."""
    found = import_bundle(file, runs, name)
    data = "with its data" if found.with_data else "without its data"
    write(f"{found.run.shown}: {found.files:,} files, {size_text(found.bytes)}, {data}; every hash agrees\n")
    check = f"python -m sweep verify {found.run.shown}" + ("" if found.with_data else " --quick")
    write(f"check what it says with: {check}\n")
