"""Runs on nodes that come and go, one of them with another clock, against the same runs on one node left alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checks import inspect
from tests.chaos.cluster import HEAD, SECOND, THIRD, TwoNodes
from tests.chaos.processes import Kind, kill, processes_of
from tests.chaos.spaces import Mode, space
from tests.chaos.spaces import write_space as write_chaos_space
from tests.sweep.commands import finish, start, study_of, sweep, wait_for, write_space
from tests.sweep.execution.ray.clocks import ahead
from tests.sweep.execution.ray.two_nodes import cluster

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
    "budget": {"trials": 1},
    "trial": {
        "model": {"hidden": 16, "heads": 2, "dropout": 0.2},
        "rce": {"epochs": 2, "lr": 1e-3, "reward": {"mode": "hard_plus_soft"}},
        "grpo": {"epochs": 60},
    },
    "pruner": {"type": "none"},
}


@pytest.mark.long  # test_nodes has two nodes in short, test_node_choice and test_adapters the moving
@pytest.mark.timeout(300)
def test_a_run_that_moves_between_two_nodes_equals_one_on_one_node(ray_session: None, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    undisturbed = sweep(one, **SPACE)
    write_space(two, **SPACE, resources={"labels": {"pool": "trials"}})
    labels = dict.fromkeys((HEAD, SECOND), "pool=trials")
    with cluster(tmp_path, labels=labels, own=ahead(tmp_path, hours=30)) as (nodes, _):
        code, output = run(two, nodes)
    assert code == 0, output
    assert re.search(rf"node {SECOND}.* is about to leave: trial 0 goes on elsewhere", output), output
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


# The nodes of the long run, all of which may train trials and have workers of the model.
ALL = dict.fromkeys((HEAD, SECOND, THIRD), "pool=all")
LABELS = {"labels": {"pool": "in(all, more)"}}
END = f"""
import sys, time
import ray
from ray._raylet import GcsClient
ray.init(address=sys.argv[1], log_to_driver=False)
(node,) = [node["NodeID"] for node in ray.nodes() if node["NodeManagerAddress"] == "{THIRD}" and node["Alive"]]
preempted = 2
accepted, why = GcsClient(address=sys.argv[1]).drain_node(node, preempted, "spot", int(time.time() * 1000) + 600_000)
assert accepted, why
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run on one node, left alone."""
    folder = tmp_path_factory.mktemp("one")
    write_chaos_space(folder, space(Mode.CLUSTER))
    alone = start(folder, "run", "space.yaml", "--name", "mine")
    assert finish(alone, 600) and alone.returncode == 0, alone.log.read_text()
    return folder


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("overlap", [False, True])
def test_a_whole_run_while_nodes_join_die_and_leave(tmp_path: Path, reference: Path, overlap: bool) -> None:
    """Two nodes; a third joins while beams are measured; one is killed and one announces its end while trials run."""
    content = space(Mode.CLUSTER)
    content["vlm"]["workers"] = {"batch": 8, **LABELS}  # as many as there is room for
    folder = tmp_path / "several"
    write_chaos_space(
        folder, content | {"resources": LABELS, "evaluation": content["evaluation"] | {"overlap": overlap}}
    )
    log, output = folder / "runs" / "mine" / "run.log", folder / "output"
    with cluster(tmp_path, labels=ALL, own=ahead(tmp_path, hours=-30)) as (nodes, mark), output.open("w") as stream:
        options: dict[str, Any] = {"cwd": folder, "env": nodes.environment, "stdout": stream, "stderr": stream}
        command = [sys.executable, "-m", "sweep", "run", "space.yaml", "--name", "mine", "--address", nodes.address]
        driver = subprocess.Popen(command, **options)
        nodes.add(THIRD)
        trials = folder / "runs" / "mine" / "trials"
        wait_for(lambda: driver.poll() is not None or len(list(trials.glob("*/epochs.jsonl"))) >= 2, 300)
        (raylet,) = [one for one in processes_of(mark) if one.kind is Kind.RAYLET and SECOND in one.title]
        kill(raylet, mark)
        wait_for(lambda: driver.poll() is not None or len(list(trials.glob("*/epochs.jsonl"))) >= 4, 300)
        subprocess.run([sys.executable, "-c", END, nodes.address], **options, check=True)
        driver.wait(400)
    said = output.read_text()
    assert driver.returncode == 0, said
    assert {HEAD, SECOND, THIRD} == set(re.findall(r"VlmWorker.* on (127\S+)", log.read_text())), "the third was used"
    found = inspect(folder / "runs" / "mine", reference / "runs" / "mine", content["budget"]["trials"])
    if overlap:
        found.unequal = [what for what in found.unequal if what != "evaluation.json"]
        one, several = (evaluation_of(place / "runs" / "mine") for place in (reference, folder))
        assert several["settings"].pop("overlap") and not one["settings"].pop("overlap")
        assert one == several
        assert "prompts while trials ran" in said
    assert found.sound, (found, said, log.read_text())


def evaluation_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "evaluations" / "declared" / "evaluation.json").read_bytes())
    return found
