"""Two nodes of one cluster, the second of which is as another machine would be: some folders are not there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import safetensors

from sweep.execution.ray.options import LOOPBACK_ONLY
from tests.chaos.cluster import HEAD, SECOND, TwoNodes
from tests.chaos.processes import MARK, Kind, processes_of
from tests.sweep.commands import study_of, wait_for, write_space

pytestmark = pytest.mark.slow


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
    environment |= {"HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    with TwoNodes(folder / "cluster.log", {MARK: mark}, environment, hidden, labels, own) as nodes:
        yield nodes, mark


def _skip_where_nothing_can_be_hidden() -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("folders can only be hidden from a process as root")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")


# A worker on the first node would be up before one on the second, and Tune would give it all trials.
HOLD = f"""
import sys, time
from pathlib import Path
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
held = ray.remote(lambda: time.sleep(600)).options(resources={{"node:{HEAD}": 0.001}}).remote()
while ray.available_resources().get("CPU", 0) > 1:
    time.sleep(0.1)
Path(sys.argv[2]).write_text("held")
ray.get(held)
"""


def run(folder: Path, nodes: TwoNodes) -> tuple[int, str]:
    """`sweep run` on the cluster. The first node is free only once the second one gets no more trials."""
    write_space(folder, budget={"trials": 2}, concurrency=2, sampler={"type": "random"}, pruner={"type": "none"})
    command = [sys.executable, "-m", "sweep", "run", "space.yaml", "--address", nodes.address]
    output, held = folder / "output", folder / "held"
    with output.open("w") as stream:
        options: dict[str, Any] = {"cwd": folder, "env": nodes.environment, "stdout": stream, "stderr": stream}
        holder = subprocess.Popen([sys.executable, "-c", HOLD, nodes.address, str(held)], **options)
        try:
            wait_for(held.exists)
            driver = subprocess.Popen(command, **options)
            wait_for(lambda: driver.poll() is not None or "gets no more trials" in output.read_text(), 120)
        finally:
            holder.kill()
            holder.wait()
        driver.wait(120)
    return driver.returncode, output.read_text()


def seen_by_second(mark: str, folder: Path) -> list[str]:
    """What the second node has in a folder."""
    (raylet,) = [one for one in processes_of(mark) if one.kind is Kind.RAYLET and SECOND in one.title]
    return [entry.name for entry in Path(f"/proc/{raylet.pid}/root{folder}").iterdir()]


@pytest.mark.timeout(300)
def test_a_node_that_does_not_see_the_run_is_named_and_gets_no_trials(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    with cluster(tmp_path, [runs]) as (nodes, mark):
        code, output = run(tmp_path, nodes)
        assert code == 0, output
        (line,) = [line for line in output.splitlines() if "gets no more trials" in line]
        assert f"node {SECOND}" in line and f"{runs / 'small-1'} is not there" in line
        assert seen_by_second(mark, runs) == []
    trials = study_of(runs / "small-1").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert all(trial.user_attrs["worker"].endswith(f" on {HEAD}") for trial in trials)
    assert not any("worker_deaths" in trial.user_attrs for trial in trials)
    assert not list((runs / "small-1").glob("driver-*")), "the driver took its mark away"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_node_without_a_package_is_named_and_gets_no_more_trials(tmp_path: Path) -> None:
    with cluster(tmp_path, [Path(safetensors.__file__).parent]) as (nodes, _):
        code, output = run(tmp_path, nodes)
    assert code == 0, output
    trials = study_of(tmp_path / "runs" / "small-1").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert not any("worker_deaths" in trial.user_attrs for trial in trials), "no trial has a part in it"
    told = [line for line in output.splitlines() if f"node {SECOND}" in line]
    assert told and all("No module named 'safetensors" in line for line in told), output
