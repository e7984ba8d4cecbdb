"""Every word reaches the program on the cluster as it was given, whatever a shell would make of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.submission.command import entry_point, resume_words, run_words

WORDS = st.lists(
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12), max_size=4
)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that says how it was called, and where. Its path has a space."""
    file = tmp_path_factory.mktemp("the bin") / "python"
    file.write_text('#!/bin/sh\nprintf "%s\\0" "$PWD" "$PPID" "$@"\n')
    file.chmod(0o755)
    return str(file)


def called(line: str, **variables: str) -> list[str]:
    said = subprocess.run(["sh", "-c", line], capture_output=True, check=True, env={**os.environ, **variables}).stdout
    return said.decode().split("\0")[:-1]


@given(words=WORDS)
@settings(max_examples=25)
def test_words_are_not_read_by_the_shell(python: str, words: list[str]) -> None:
    safe = [word for word in words if not word.startswith("~/")]
    assert called(entry_point(python, safe))[2:] == ["-m", "sweep", *safe]


def test_no_shell_stays_between_ray_and_the_program(python: str) -> None:
    """Ray signals the shell that it starts and its children; the program must not lose its parent first."""
    assert called(entry_point(python, ["run"]))[1] == str(os.getpid())


def test_the_home_folder_is_that_of_the_cluster(python: str) -> None:
    line = entry_point(python, ["--runs", "~/my $runs", "~", "a/~/b"])
    assert called(line, HOME="/home/it")[4:] == ["--runs", "/home/it/my $runs", "~", "a/~/b"]


def test_an_image_gets_the_space_with_the_command(python: str) -> None:
    text = 'name: it\'s\n# $(false) `false` \\ "x"\n'
    place, *rest = called(entry_point(python, ["run", "mine.yaml"], {"mine.yaml": text}))
    assert rest[1:] == ["-m", "sweep", "run", "mine.yaml"]
    assert Path(place, "mine.yaml").read_text() == text
    assert Path(place).stat().st_mode & 0o077 == 0
    Path(place, "mine.yaml").unlink()
    Path(place).rmdir()


def test_a_job_is_an_ordinary_run() -> None:
    from sweep.cli.app import load_command

    words = run_words("a.yaml", "mine", "~/runs", ["--set", "budget.trials=2"])
    params = load_command("run").make_context("run", words[1:]).params
    assert (params["name"], params["address"], params["resume_existing"]) == ("mine", "auto", True)
    words = resume_words("mine", "~/runs", ["--set=budget.trials=2"])
    assert list(load_command("resume").make_context("resume", words[1:]).params["overrides"]) == ["budget.trials=2"]
