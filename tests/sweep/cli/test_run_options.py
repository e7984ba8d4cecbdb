"""The options of `run` behind the two dashes of `submit`: checked as `run` checks them, before a job exists."""

from __future__ import annotations

import pytest

from sweep.cli.submit import run_options_of
from sweep.errors import RunError
from sweep.submission.contents import Named

SPACE = "spaces/grpo.yaml"


def test_what_is_decided_here_and_what_is_passed_on() -> None:
    found = run_options_of(
        SPACE, ["--name", "mine", "--runs=s3://b/runs", "--set", "budget.trials=2", "--log", "wandb"]
    )
    assert (found.name, found.runs) == ("mine", "s3://b/runs")
    assert found.words == ("--set", "budget.trials=2", "--log", "wandb")
    assert tuple(found.overrides) == ("budget.trials=2", "loggers.wandb={}")


def test_data_of_the_command_line_stands_for_that_of_the_space() -> None:
    found = run_options_of(SPACE, ["--data", "here", "--embeddings", "/there"])
    assert found.paths == (Named("--data", "here"), Named("--embeddings", "/there")) and found.replaced == ("data",)
    assert (found.name, found.runs, found.words) == (None, "~/runs", ("--data", "here", "--embeddings", "/there"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--address", "auto"], "--address names the cluster before the --"),
        (["--cpus", "2"], "--cpus is for a Ray that a run starts itself"),
        (["--metrics-port", "9090"], "--metrics-port is for a Ray"),
        (["--detach"], "a job needs no terminal"),
        (["--resume"], "a job always goes on"),
        (["--nonsense"], "No such option:? '?--nonsense"),
        (["--nam", "x"], "No such option:? '?--nam"),
        (["--name"], "expected one argument"),
        (["another.yaml"], "unexpected extra argument"),
        (["--cpus", "many"], "valid integer"),
    ],
)
def test_options_that_a_job_cannot_have(words: list[str], reason: str) -> None:
    with pytest.raises(Exception, match=reason) as refused:
        run_options_of(SPACE, words)
    assert isinstance(refused.value, RunError) or hasattr(refused.value, "exit_code")  # click's errors have one
