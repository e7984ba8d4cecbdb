"""Jobs that were handed in: found by their own name or their run's, followed, asked and stopped."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.errors import ClusterError
from sweep.execution.ray.jobs import Job, JobServer, JobState
from sweep.submission.command import HOME_RUNS, entry_point, quoted, resume_words
from sweep.submission.package import installed_code, pack
from sweep.submission.surroundings import PATIENCE, STOP_SECONDS

PROGRAM, RUN, RUNS, FILES, PYTHON = "program", "run", "runs", "files", "python"
"""Labels of our jobs. `FILES`: paths of the user's that travelled with it."""
SWEEP = "sweep"
QUESTION = "sweep-question"
"""The program of a job that only reads a run's folder. It is taken off the list when it has answered."""
LOOK_SECONDS = 1.0
ANSWER_SECONDS = 300.0
LOST_COMMANDS = (126, 127)
KEPT_RUNTIME = ("pip", "image_uri", "env_vars")


@dataclass(frozen=True)
class Answer:
    """What a question's command has said, and its exit code."""

    text: str
    exit_code: int


def run_of(job: Job) -> str:
    """The run that a job drives."""
    return job.labels.get(RUN, job.name)


def runs_of(job: Job | None) -> str:
    """The folder of runs of a job."""
    return HOME_RUNS if job is None else job.labels.get(RUNS, HOME_RUNS)


def python_of(job: Job | None) -> str:
    """The interpreter's command of a job."""
    return "python" if job is None else job.labels.get(PYTHON, "python")


def our_jobs(server: JobServer) -> list[Job]:
    """Those that drive a run, the newest first."""
    return [job for job in server.jobs() if job.labels.get(PROGRAM) == SWEEP]


def known_job(server: JobServer, name: str | None) -> Job | None:
    """The job of this name, or the newest one of the run of this name. None: the newest of all."""
    jobs = our_jobs(server)
    return next((job for job in jobs if name in (None, job.name, run_of(job))), None)


def find_job(server: JobServer, name: str | None) -> Job:
    """As `known_job`. Raises ClusterError if there is none."""
    job = known_job(server, name)
    if job is not None:
        return job
    names = ", ".join(sorted({run_of(one) for one in our_jobs(server)})) or "none"
    what = "no job of a sweep" if name is None else f"no job or run {name!r} among the jobs"
    raise ClusterError(
        f"{server.url}: {what}; runs with jobs there: {names}. A head that was started again forgets its jobs, and "
        "`python -m sweep resume RUN --address URL` goes on with the run"
    )


def check_free(server: JobServer, run: str) -> None:
    """Refuse a second job for a run. Raises ClusterError."""
    for job in our_jobs(server):
        if run_of(job) == run and not job.state.is_over:
            raise ClusterError(
                f"run {run} has job {job.name} already, which is {job.state.lower()}: follow it with `python -m sweep "
                f"status {run} --address {server.url} --follow`, end it with `stop`, or take another --name"
            )


def resume_job(server: JobServer, run: str | None, runs: str | None, options: Sequence[str], columns: int = 0) -> str:
    """Hand in a job that goes on with a run, in what its last job ran in. Returns the job's name.

    Args:
        server: the cluster.
        run: the run's name, or that of its job. None: the newest.
        runs: its folder of runs as the cluster sees it. None: that of its last job, or else the usual one.
        options: of `resume`.
        columns: width of what it says. 0: as the program likes.

    Raises:
        ClusterError: the run has a job, or needs files that travelled with the last one.
    """
    job = find_job(server, None) if run is None else known_job(server, run)
    name = str(run) if job is None else run_of(job)
    check_free(server, name)
    if job is not None and FILES in job.labels and not any(word.startswith("--data=") for word in options):
        raise ClusterError(
            f"run {name} needs {job.labels[FILES]}, which travelled with its job and went with it: `python -m sweep "
            f"submit SPACE --address {server.url} -- --name {name}` hands it in again and goes on with the run"
        )
    labels = {PROGRAM: SWEEP, RUN: name, RUNS: runs or runs_of(job), PYTHON: python_of(job)}
    line = entry_point(labels[PYTHON], resume_words(name, labels[RUNS], options), columns=columns)
    new = new_name(name)
    with TemporaryDirectory() as folder:
        server.submit(new, line, runtime_like(job, Path(folder)), labels)
    return new


def new_name(run: str) -> str:
    """A name for a job. Ray takes each only once."""
    return f"{run}-{secrets.token_hex(3)}"


def stop_job(server: JobServer, job: Job, seconds: float, sleep: Callable[[float], None] = time.sleep) -> Job:
    """Have a job end after its running epochs, and wait. Gives the job as it is then, ended or not."""
    server.stop(job.name)
    return _waited(server, job.name, seconds, sleep)


def ask(server: JobServer, job: Job, words: Sequence[str], sleep: Callable[[float], None] = time.sleep) -> Answer:
    """Run a short command of this program on the cluster, where the run's folder is.

    Args:
        server: the cluster.
        job: of the run. Its packages and image are taken.
        words: the command line after `python -m sweep`, without the run and its folder, which follow the first word.
        sleep: waits.

    Raises:
        ClusterError: the cluster does not answer, or the command did not run.
    """
    name = f"{QUESTION}-{secrets.token_hex(4)}"
    line = entry_point(python_of(job), [words[0], run_of(job), "--runs", runs_of(job), *words[1:]])
    with TemporaryDirectory() as folder:
        server.submit(name, line, runtime_like(job, Path(folder)), {PROGRAM: QUESTION})
    ended = _waited(server, name, ANSWER_SECONDS, sleep)
    if not ended.state.is_over:
        server.stop(name)
        raise ClusterError(f"{server.url} has not answered for {ANSWER_SECONDS:.0f} s: `{line}`")
    text = said_by_command(server.log(name), ended)
    with suppress(ClusterError):
        server.forget(name)
    if ended.exit_code is None or ended.exit_code in LOST_COMMANDS:
        raise ClusterError(f"{server.url} cannot run `{line}`: {reason_of_failure(ended, text)}")
    return Answer(text, ended.exit_code)


def runtime_like(job: Job | None, folder: Path) -> dict[str, object]:
    """The runtime environment of a further command for a run: what its last job had, and the code of now.

    What travelled with that job is gone from the cluster soon after its end.
    """
    kept = {} if job is None else {key: job.runtime[key] for key in KEPT_RUNTIME if job.runtime.get(key)}
    kept["env_vars"] = {STOP_SECONDS: PATIENCE, **kept.get("env_vars", {})}
    if "image_uri" in kept:
        return kept
    archive = folder / "code.zip"
    pack(installed_code(), archive)
    return {**kept, "working_dir": str(archive)}


def said_by_command(log: str, job: Job) -> str:
    """A job's log without what Ray writes before the command begins."""
    return log.partition(f"Running entrypoint for job {job.name}: {job.entry_point}\n")[2] or log


def reason_of_failure(job: Job, text: str) -> str:
    """Why a job failed, on one line, and what to do where that is known."""
    said = text if text.strip() else job.message
    last = ([line.strip() for line in said.splitlines() if line.strip()] or ["no reason given"])[-1]
    if job.exit_code in LOST_COMMANDS:
        return f"{last}; name the interpreter of the cluster with --python"
    if "No module named" in last:
        return f"{last}; have each node install what is missing, with --pip same, or name an --image that has it"
    return last


def _waited(server: JobServer, name: str, seconds: float, sleep: Callable[[float], None]) -> Job:
    deadline = time.monotonic() + seconds
    while not (job := server.job(name)).state.is_over and time.monotonic() < deadline:
        sleep(LOOK_SECONDS)
    return job


def follow(server: JobServer, name: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """What a job says until it is over. A stream that breaks while the cluster lives is taken up again."""
    shown = 0
    while not server.job(name).state.is_over:  # raises where it is the cluster that does not answer
        seen = 0
        with suppress(ClusterError):
            for piece in server.follow(name):
                seen += len(piece)
                if seen > shown:
                    yield piece[shown - seen :]
                    shown = seen
        sleep(LOOK_SECONDS)
    yield server.log(name)[shown:]


EXIT_CODES = {JobState.SUCCEEDED: 0, JobState.STOPPED: 130}


def exit_code_of(job: Job) -> int:
    """The run's, for who waited for it."""
    return EXIT_CODES.get(job.state, job.exit_code or 1)


def go_on(server: JobServer, run: str) -> str:
    """The command that continues a run, for people."""
    return f"python -m sweep resume {quoted(run)} --address {quoted(server.url)}"
