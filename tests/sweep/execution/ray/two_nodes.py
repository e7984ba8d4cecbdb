"""A cluster of two nodes on this machine for one test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from sweep.execution.ray.options import LOOPBACK_ONLY
from sweep.storage.scratch import CACHE
from tests.chaos.cluster import TwoNodes
from tests.chaos.processes import MARK


@contextmanager
def cluster(
    folder: Path,
    hidden: Sequence[Path] = (),
    labels: Mapping[str, str] | None = None,
    own: Mapping[str, str] | None = None,
) -> Iterator[tuple[TwoNodes, str]]:
    """Both nodes, and the mark of their processes. Skips the test where something cannot be hidden as it is to be."""
    if hidden:
        _skip_where_nothing_can_be_hidden()
    mark = uuid4().hex
    environment = {name: value for name, value in os.environ.items() if name not in LOOPBACK_ONLY}
    environment |= {"HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0", CACHE: str(folder / "cache")}
    with TwoNodes(folder / "cluster.log", {MARK: mark}, environment, hidden, labels, own) as nodes:
        yield nodes, mark


def _skip_where_nothing_can_be_hidden() -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("folders can only be hidden from a process as root")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")
