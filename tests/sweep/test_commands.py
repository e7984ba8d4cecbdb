"""The helper that starts commands, where Ray does not start at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.sweep.commands import finish, start

FAILS_ONCE = """#!/bin/sh
mkdir -p runs
mkdir runs/first || exit 1  # the folder of the failed start is gone
if ! test -e failed; then
  touch failed
  echo "error: cannot start Ray on this machine: x"
  exit 2
fi
echo "dashboard  none"
"""


def test_a_command_whose_ray_does_not_start_begins_again_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(FAILS_ONCE)
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    process = start(tmp_path, "run", "space.yaml")
    assert finish(process) == "dashboard  none\n" and process.returncode == 0
    assert (tmp_path / "failed").exists(), "the first start failed"
