"""The command line: which commands there are. What a command needs is imported when it is called, and not before."""

from __future__ import annotations

import os
import sys
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from selector.errors import UserError
from sweep.cli.completion import COMPLETION, INSTALLERS, StandIn, asks_for_options
from sweep.cli.loading import loading
from sweep.storage.outage import describe_os_error
from sweep.terminal.outlet import open_streams, write, write_error
from sweep.terminal.waiting import Waiting, without_stdout

COMMANDS = {
    "run": ("sweep.cli.runs", "Check everything, run the trials, rank them."),
    "resume": (
        "sweep.cli.runs",
        "Continue a run that was interrupted: finished trials stay, the others go on from their last epoch.",
    ),
    "submit": (
        "sweep.cli.submit",
        "Hand a run in to a Ray cluster, as a job: the space and the code travel. What it cannot give is said before.",
    ),
    "validate": ("sweep.cli.spaces", "Check a space and its data, and print what would run. Starts nothing."),
    "status": ("sweep.cli.status", "Tell whether a run goes on, how far it is, and how its trials stand."),
    "watch": (
        "sweep.cli.watch",
        "Show the report of a run in a browser, and follow the run while it goes on. Changes nothing.",
    ),
    "stop": ("sweep.cli.stop", "End a run cleanly from elsewhere, as Ctrl-C does. It can be resumed."),
    "list": ("sweep.cli.listing", "List the runs of a folder, the newest first: state, best trial, size, verdict."),
    "evaluate": (
        "sweep.cli.runs",
        "Have the best trials' demonstrations answered by the model, and rank by the answers.",
    ),
    "collect": ("sweep.cli.runs", "Measure the beams of a space with its model: the data that trials are trained on."),
    "embed": ("sweep.cli.runs", "Embed the images and questions of a space, as its section embed says."),
    "show-prompt": (
        "sweep.cli.spaces",
        "Print exactly what the model reads for one question, and which images.",
    ),
    "export": ("sweep.cli.results", "Write the best checkpoint of a run, ready to use."),
    "report": ("sweep.cli.report", "Write everything that is known of a run as one HTML page that needs no network."),
    "compare": ("sweep.cli.compare", "Say how two or more selectors differ: weights, selections, curves, answers."),
    "doctor": (
        "sweep.cli.doctor",
        "Say what is wrong with a run, worst first, with what shows it and the change to make.",
    ),
    "next": (
        "sweep.cli.doctor",
        "Write the space to try next, from what doctor finds: ranges, epochs, pruner, and the best points first.",
    ),
    "verify": (
        "sweep.cli.results",
        "Recompute every stored number of a run and check the hashes of the rest.",
    ),
    "show-space": ("sweep.cli.spaces", "Print a search space that ships, to make a copy of."),
    "reproduce": ("sweep.cli.reproduce", "Train a trial again and say whether it comes out the same."),
    "runs": ("sweep.cli.folders", "Remove runs, and take in those of others."),
    "schema": ("sweep.cli.spaces", "Print the JSON schema of a search space, for editors."),
    "data": ("sweep.cli.data", "Training data."),
}
"""By name: the module that has the command, and what `--help` says of it (a test holds the two together)."""


WAITED_FOR = ("run", "resume", "submit", "evaluate", "collect", "embed", "watch")
"""Commands that say from the first moment what they wait for. Their program takes seconds to load."""
QUIET = ("--quiet", "-q")


class _Commands(TyperGroup):
    """Lists its commands without importing them: torch, Ray and transformers take seconds."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (passed on)
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ANN401 (click's)
        """The command that was asked for, imported now."""
        name, listed, rest = super().resolve_command(ctx, args)
        if name not in COMMANDS:
            return name, listed, rest
        if COMPLETION in os.environ:
            return name, load_command(name) if asks_for_options() else StandIn(name), rest
        if set(QUIET) & set(rest):  # behind the command too, where most people write it
            ctx.with_resource(without_stdout())
            rest = [word for word in rest if word not in QUIET]
        elif name in WAITED_FOR and not {"--json", "--help"} & set(rest):
            with Waiting(lambda line: write(f"{line}\n"), "loading the program"):
                return name, load_command(name), rest
        return name, load_command(name), rest


def load_command(name: str) -> Any:  # noqa: ANN401 (click's command)
    """Import a command."""
    with loading():
        module = import_module(COMMANDS[name][0])
    group = typer.main.get_command(module.app)
    command = group.commands[name] if isinstance(group, TyperGroup) and name in group.commands else group
    command.epilog = "With --quiet or -q nothing but errors is printed."
    return command


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        write(f"sweep {metadata.version('demonstration-sweep')}\n")
        raise typer.Exit


def _be_quiet(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        ctx.with_resource(without_stdout())


@app.callback()
def sweep(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            *QUIET,
            is_eager=True,
            callback=_be_quiet,
            help="Print nothing but errors; may also stand behind the command.",
        ),
    ] = False,
) -> None:
    """Sweeps of selector training: check a search space, run its trials, watch them, take the best home."""


def main() -> None:
    """Entry point: user errors end as one line on stderr."""
    open_streams()
    try:
        app(prog_name="sweep" if COMPLETION in os.environ or INSTALLERS & set(sys.argv[1:2]) else None)
    except UserError as error:
        write_error(f"error: {error}\n")
        raise SystemExit(2) from None
    except OSError as error:  # a full disk, a folder without permission: the system's answer is the message
        write_error(f"error: {describe_os_error(error)}\n")
        raise SystemExit(2) from None
