"""The command `stop`."""

from __future__ import annotations

from typing import Annotated

import typer

from sweep.cli.options import RUNS, Runs, Server, Verify
from sweep.cli.submitted import stop_submitted
from sweep.driver.stop import Stopped, stop
from sweep.runs.driver import End
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths
from sweep.terminal.outlet import write, write_error

app = typer.Typer()


@app.command("stop")
def stop_run(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder, URI or name.")],
    runs: Runs = RUNS,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for the running epochs.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="How long to wait for its end.")
    ] = 600,
    address: Server = None,
    verify: Verify = None,
) -> None:
    """End a run cleanly from elsewhere, as Ctrl-C does. It can be resumed."""
    if address is not None:
        stop_submitted(address, verify, run, now, wait)
        return
    paths = find_run(run, runs)
    stopped = stop(paths, now, wait, lambda line: write_error(f"{line}\n"))
    write(_sentence(paths, stopped) + "\n")
    raise typer.Exit(0 if stopped.has_ended else 1)


def _sentence(paths: RunPaths, stopped: Stopped) -> str:
    if not stopped.was_alive:
        return f"run {paths.name} has no driver: there is nothing to stop"
    if not stopped.has_ended:
        return f"run {paths.name} has not ended yet; its driver goes on ending it (--now: without the running epochs)"
    if stopped.driver is not None and stopped.driver.end is End.FINISHED:
        return f"run {paths.name} has finished"
    return f"run {paths.name} is stopped; continue with: python -m sweep resume {paths.shown}"
