"""Runs on nodes that come and go, one of them with another clock, against the same runs on one node left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checks import inspect
from tests.chaos.cluster import HEAD, SECOND, TwoNodes
from tests.sweep.commands import study_of, sweep, wait_for, write_space
from tests.sweep.execution.ray.clocks import ahead
from tests.sweep.execution.ray.test_nodes import cluster

pytestmark = pytest.mark.slow

# Holds the first node's core, so that trials begin on the second one, until a file is there. Then it announces, as a
# provider of spot nodes does, that the second node will be gone. No clock may tell when: that node's is ahead.
NOTICE = f"""
import sys, time
from pathlib import Path
import ray
from ray._raylet import GcsClient
address, held, epochs = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
ray.init(address=address, log_to_driver=False)
holder = ray.remote(lambda: time.sleep(600)).options(resources={{"node:{HEAD}": 0.001}}).remote()
while ray.available_resources().get("CPU", 0) > 1:
    time.sleep(0.1)
held.write_text("held")
while not (epochs.exists() and epochs.read_text().count("\\n") >= 2):
    time.sleep(0.05)
(node,) = [node["NodeID"] for node in ray.nodes() if node["NodeManagerAddress"] == "{SECOND}"]
preempted = 2
accepted, why = GcsClient(address=address).drain_node(node, preempted, "spot", int(time.time() * 1000) + 600_000)
assert accepted, why
"""
SPACE: dict[str, Any] = {
    "concurrency": 1,
    "budget": {"trials": 2},
    "trial": {
        "model": {"hidden": 16, "heads": 2, "dropout": 0.2},
        "rce": {"epochs": 2, "lr": 1e-3, "reward": {"mode": "hard_plus_soft"}},
        "grpo": {"epochs": 60},
    },
    "pruner": {"type": "none"},
}


@pytest.mark.timeout(300)
def test_a_run_that_moves_between_two_nodes_equals_one_on_one_node(ray_session: None, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    undisturbed = sweep(one, **SPACE)
    write_space(two, **SPACE, resources={"labels": {"pool": "trials"}})
    labels = dict.fromkeys((HEAD, SECOND), "pool=trials")
    with cluster(tmp_path, labels=labels, own=ahead(tmp_path, hours=30)) as (nodes, _):
        code, output = run(two, nodes)
    assert code == 0, output
    assert f"node {SECOND} is about to leave: trial 0 goes on elsewhere" in output
    trials = study_of(two / "runs" / "small-1").trials
    assert all(trial.user_attrs["worker"].endswith(f" on {HEAD}") for trial in trials), "where they ended"
    assert not any("worker_deaths" in trial.user_attrs for trial in trials)
    found = inspect(two / "runs" / "small-1", undisturbed.paths.root.local(), SPACE["budget"]["trials"])
    assert found.sound, found


def run(folder: Path, nodes: TwoNodes) -> tuple[int, str]:
    """`sweep run` on the cluster, whose second node announces its end in the middle of the first trial."""
    held, output = folder / "held", folder / "output"
    epochs = folder / "runs" / "small-1" / "trials" / "0000" / "epochs.jsonl"
    command = [sys.executable, "-m", "sweep", "run", "space.yaml", "--address", nodes.address]
    with output.open("w") as stream:
        options: dict[str, Any] = {"cwd": folder, "env": nodes.environment, "stdout": stream, "stderr": stream}
        notice = subprocess.Popen([sys.executable, "-c", NOTICE, nodes.address, str(held), str(epochs)], **options)
        try:
            wait_for(held.exists)
            driver = subprocess.Popen(command, **options)
            driver.wait(200)
        finally:
            notice.kill()
            notice.wait()
    return driver.returncode, output.read_text()
