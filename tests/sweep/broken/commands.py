"""A valid tiny space, ways to spoil it, and what a refusal looks like."""

from __future__ import annotations

import sys

import pytest
import yaml

from sweep.cli import app as cli

TINY = {
    "name": "tiny",
    "data": {"demo": {"items": 200, "queries": 30}},
    "trial": {"model": {"hidden": 8, "heads": 2}, "rce": {"epochs": 1}, "grpo": {"epochs": 1}},
    "budget": {"trials": 2},
}


def refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], fragments: list[str]
) -> None:
    """The command ends with code 2 and one `error:` line that holds all fragments."""
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    assert stopped.value.code == 2, captured
    assert captured.out == "" or arguments[0] == "resume", "nothing is printed before the checks have passed"
    message = captured.err
    assert message.startswith("error: ") and message.count("error:") == 1, message
    assert message.endswith("\n") and message.count("\n") == 1, message
    assert "Traceback" not in message and len(message) < 600, message
    for fragment in fragments:
        assert fragment in message, f"{fragment!r} is not in {message!r}"


def space(**changes: object) -> str:
    return yaml.safe_dump({**TINY, **changes})


def lines(*more: str) -> str:
    """A small valid space of four lines, and more below it."""
    return "name: x\nbudget: {trials: 1}\ndata: {demo: {items: 200, queries: 30}}\nparameters:\n" + "\n".join(more)


KL = "  grpo.kl_beta: {type: float, low: 0.01, high: 0.5}"
