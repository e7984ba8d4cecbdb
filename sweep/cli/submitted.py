"""What `status`, `stop` and `resume` do with `--address URL`: for a run that a job on a cluster drives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime

import typer

from sweep.execution.ray.jobs import Job, JobServer, JobState, dashboard_of, is_exposed
from sweep.submission.jobs import (
    ask,
    exit_code_of,
    find_job,
    follow,
    go_on,
    reason_of_failure,
    resume_job,
    run_of,
    said_by_command,
    stop_job,
)
from sweep.terminal.outlet import write, write_error


def open_server(address: str | None, verify: str | None) -> JobServer:
    """The cluster that `--address` and `--verify` name. Raises ClusterError."""
    url = dashboard_of(address, os.environ)
    if is_exposed(url, os.environ):
        write_error(
            f"warning: {url} is not encrypted, so the network can read the token; use https, or an SSH tunnel to "
            "127.0.0.1\n"
        )
    return JobServer(url, verify={"no": False, None: True}.get(verify, verify or True))


def show_status(address: str, verify: str | None, run: str | None, options: Sequence[str], *, log: bool) -> None:
    """Say how a job stands, and how its run does. The run is read on the cluster, by a short job of its own."""
    server = open_server(address, verify)
    job = find_job(server, run)
    if log:
        follow_job(server, job.name)
    (write_error if "--json" in options else write)(_line(server, job))
    answer = ask(server, job, ["status", *options])
    (write if answer.exit_code == 0 else write_error)(answer.text)
    raise typer.Exit(answer.exit_code)


def stop_submitted(address: str, verify: str | None, run: str, now: bool, seconds: float) -> None:
    """Have a run's job end after the running epochs, or now, and wait for it."""
    server = open_server(address, verify)
    job = find_job(server, run)
    if job.state.is_over:
        write(f"run {run_of(job)} has no job that could be stopped: {_line(server, job)}")
        return
    after = "at once" if now else "after the running epochs"
    write_error(f"asking job {job.name} to stop {after}; waiting for its end ...\n")
    if now and ask(server, job, ["stop", "--now", "--wait", f"{seconds:g}"]).exit_code == 0:
        write(f"run {run_of(job)} is stopped; continue with: {go_on(server, run_of(job))}\n")
        return
    job = stop_job(server, job, seconds)
    if not job.state.is_over:
        write(f"run {run_of(job)} has not ended yet; its job goes on ending it (--now: without the running epochs)\n")
        raise typer.Exit(1)
    write(f"run {run_of(job)} is stopped; continue with: {go_on(server, run_of(job))}\n")


def resume_submitted(
    address: str | None, verify: str | None, run: str | None, runs: str | None, options: Sequence[str], *, log: bool
) -> None:
    """Hand in a job that goes on with a run."""
    server = open_server(address, verify)
    name = resume_job(server, run, runs, options, shown_columns())
    print_lines(("job", name), ("follow", f"python -m sweep status {name} --address {server.url} --follow"))
    if log:
        follow_job(server, name)


def follow_job(server: JobServer, name: str) -> None:
    """Print what a job says until it is over, and end with the run's exit code. Ctrl-C leaves the job alone."""
    try:
        for piece in follow(server, name):
            write(piece)
    except KeyboardInterrupt:
        write_error(f"\nnot following any more; job {name} goes on\n")
        raise typer.Exit(130) from None
    job = server.job(name)
    if job.state is JobState.FAILED:
        write_error(f"error: {_reason(server, job)}\n")
    if job.state is not JobState.SUCCEEDED:
        write_error(f"run {run_of(job)} can be continued with: {go_on(server, run_of(job))}\n")
    raise typer.Exit(exit_code_of(job))


def shown_columns() -> int:
    """Width of this terminal, in which a job's log is read."""
    return shutil.get_terminal_size().columns


def print_lines(*lines: tuple[str, str]) -> None:
    """Each with its name in front."""
    for name, text in lines:
        write(f"{name:<10} {text}\n")


def _line(server: JobServer, job: Job) -> str:
    times = [f" {word} {_time(at)}" for word, at in (("began", job.began), ("ended", job.ended)) if at is not None]
    return f"job {job.name} is {job.state.lower()} on {server.url}:{','.join(times)}\n"


def _reason(server: JobServer, job: Job) -> str:
    code = "" if job.exit_code is None else f" with exit code {job.exit_code}"
    said = said_by_command(server.log(job.name), job)
    return f"job {job.name} failed{code}: {reason_of_failure(job, said if job.exit_code is not None else job.message)}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
