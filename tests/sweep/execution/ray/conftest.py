"""What the tests of a Ray on this machine share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder that everybody may enter, with a path short enough for sockets. Those of pytest are neither."""
    path = Path(tempfile.mkdtemp(dir="/tmp", prefix="t-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)
