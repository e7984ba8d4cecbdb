"""The command line that a job runs on the cluster, each word quoted for the shell that Ray starts it with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

HOME_RUNS = "~/runs"
"""Where runs are kept if nobody says so: in the home of the user who started the cluster, which outlives a job."""


def quoted(word: str) -> str:
    """One word for a POSIX shell. A leading `~/` still stands for the home folder there."""
    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") and len(word) > 2 else shlex.quote(word)


def entry_point(python: str, words: Sequence[str], texts: Mapping[str, str] | None = None, columns: int = 0) -> str:
    """What Ray hands to `sh -c`. `exec` leaves no shell between Ray's signals and the program.

    Args:
        python: the interpreter's command on the cluster.
        words: of the command line after `python -m sweep`.
        texts: files to be written first into a new folder, which the command then runs in. For an image, into which
            no archive travels.
        columns: width of what it says, for people. 0: as the program likes.
    """
    line = " ".join(["exec", quoted(python), "-m", "sweep", *map(quoted, words)])
    if columns:
        line = f"export COLUMNS={columns}; {line}"
    if not texts:
        return line
    written = [f"printf %s {shlex.quote(text)} > {shlex.quote(name)}" for name, text in texts.items()]
    return " && ".join(['cd "$(mktemp -d)"', *written, line])


def run_words(space_file: str, name: str, runs: str, options: Sequence[str]) -> list[str]:
    """Begin the run of this name, or go on with it where an earlier job left it."""
    return ["run", space_file, "--name", name, "--runs", runs, "--address", "auto", "--resume", *options]


def resume_words(name: str, runs: str, options: Sequence[str]) -> list[str]:
    """Go on with a run that is there."""
    return ["resume", name, "--runs", runs, "--address", "auto", *options]
