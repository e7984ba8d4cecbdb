"""The command `watch`: the report of a run in a browser, which follows the run while it goes on."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from sweep.cli.options import RUNS, RunName, Runs, Storage
from sweep.report.watch.server import Reports, Watched, listen
from sweep.results.status import read_status
from sweep.runs.find import find_run
from sweep.terminal.outlet import write, write_error

PORT = 8320

app = typer.Typer()


@app.command()
def watch(
    run: RunName = None,
    runs: Runs = RUNS,
    storage: Storage = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1, or the next free one; 0: any free one.")
    ] = PORT,
) -> None:
    """Show the report of a run in a browser, and follow the run while it goes on. Changes nothing."""
    paths = find_run(run, runs, storage)
    read_status(paths, lambda line: write_error(f"{line}\n"))  # what cannot be read is said here, not in the browser
    with TemporaryDirectory() as scratch, listen(port, Watched(paths, Reports(Path(scratch)))) as server:
        if port and server.server_port != port:
            write(f"port {port} is taken\n")
        write(f"run {paths.name} is shown at {server.url} (Ctrl-C ends this, not the run)\n")
        address = f"{server.server_port}:127.0.0.1:{server.server_port}"
        write(f"from another machine: ssh -L {address} HOST, then the same address\n")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            write("\nno longer watched\n")
