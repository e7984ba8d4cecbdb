"""Broken input through the command line: one clear line, exit code 2, and nothing has been started.

The same kinds, and more of them, are checked where they are found in `tests/selector/data/test_broken_input.py` and
`tests/sweep/space/test_broken_spaces.py`; here it is what a person sees.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sweep.driver import session
from tests.sweep.broken.commands import TINY


@pytest.fixture(autouse=True)
def nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own, and a command that gets as far as the trials fails it."""

    def started(*arguments: object) -> None:
        raise AssertionError("trials were started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "connected", started)
    Path("space.yaml").write_text(yaml.safe_dump(TINY))
