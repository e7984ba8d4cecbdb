"""Two nodes of one cluster, the second of which is as another machine would be: some folders are not there, it was
started in another working directory, or it has other packages.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import safetensors

from sweep.runs.paths import RunPaths
from sweep.trials.checkpoints import check_files
from sweep.trials.stored import stored_epochs
from tests.chaos.cluster import HEAD, SECOND, TwoNodes
from tests.chaos.processes import Kind, processes_of
from tests.sweep.commands import ALONE, Ran, curves, study_of, wait_for, write_space
from tests.sweep.execution.ray.two_nodes import cluster

pytestmark = pytest.mark.slow
SMALL_RUN: dict[str, object] = {"budget": {"trials": 2}, "sampler": {"type": "random"}, "pruner": {"type": "none"}}


HOLDER = """
import sys, time
from pathlib import Path
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
node, file = sys.argv[2:]
held = ray.remote(lambda: time.sleep(600)).options(resources={f"node:{node}": 0.001}).remote()
while ray.available_resources().get("CPU", 0) > 1:
    time.sleep(0.1)
Path(file).write_text("held")
ray.get(held)
"""


@contextmanager
def held(nodes: TwoNodes, address: str, folder: Path) -> Iterator[None]:
    """Take the one core of a node meanwhile. Otherwise the first node would be quicker, and get all trials."""
    file = folder / f"held-{uuid4().hex}"
    command = [sys.executable, "-c", HOLDER, nodes.address, address, str(file)]
    with (folder / "holder").open("a") as stream:
        process = subprocess.Popen(command, env=nodes.environment, stdout=stream, stderr=stream)
    try:
        wait_for(file.exists)
        yield
    finally:
        process.kill()
        process.wait()


def begin(folder: Path, nodes: TwoNodes, *command: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A command on the cluster, and where it says what."""
    output = folder / f"output-{uuid4().hex}"
    line = [sys.executable, "-m", "sweep", *command, "--address", nodes.address]
    with output.open("w") as stream:
        return subprocess.Popen(line, cwd=folder, env=nodes.environment, stdout=stream, stderr=stream), output


def run(folder: Path, nodes: TwoNodes, *command: str) -> str:
    """What a command says that ends well."""
    process, output = begin(folder, nodes, *command)
    assert process.wait(240) == 0, output.read_text()
    return output.read_text()


def seen_by_second(mark: str, folder: Path) -> list[str]:
    """What the second node has in a folder."""
    (raylet,) = [one for one in processes_of(mark) if one.kind is Kind.RAYLET and SECOND in one.title]
    return [entry.name for entry in Path(f"/proc/{raylet.pid}/root{folder}").iterdir()]


def hashes(run: RunPaths) -> dict[str, str]:
    """Of all stored epochs and warm-ups, whose files have them."""
    folders = [*stored_epochs(run.trials_folder), *(file.parent for file in run.rce_folder.glob("*/manifest.json"))]
    return {folder.place.removeprefix(run.root.place): check_files(folder)["sha256"] for folder in folders}


@pytest.mark.timeout(300)
def test_a_node_that_does_not_see_the_runs_folder_stores_its_trials_there(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    write_space(tmp_path, **SMALL_RUN)
    with cluster(tmp_path, [runs]) as (nodes, mark), held(nodes, HEAD, tmp_path):
        output = run(tmp_path, nodes, "run", "space.yaml")
        assert seen_by_second(mark, runs) == []
    (line,) = [line for line in output.splitlines() if "is not seen there" in line]
    assert line.startswith(f"node {SECOND}") and str(runs / "small-1") in line
    trials = study_of(runs / "small-1").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert all(trial.user_attrs["worker"].endswith(f" on {SECOND}") for trial in trials)
    assert not any("worker_deaths" in trial.user_attrs for trial in trials)
    paths = RunPaths.at(runs / "small-1")
    assert len(hashes(paths)) >= 3 and paths.seal_file.exists()
    assert all((paths.tensorboard_folder / f"trial-{number:04d}").glob("events*") for number in range(2))
    left = [file for file in paths.root.local().rglob(".*") if not file.is_relative_to(paths.tune_folder.local())]
    assert left == [], "nothing half written"
    assert not paths.driver_marks, "the driver took its mark away"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_one_node_stored_another_one_continues_to_the_bit(tmp_path: Path, undisturbed: Ran) -> None:
    """The driver is killed while the second node trains, which does not see the folder. The first node goes on."""
    runs = tmp_path / "runs"
    runs.mkdir()
    write_space(tmp_path, **ALONE)
    with cluster(tmp_path, [runs]) as (nodes, _):
        with held(nodes, HEAD, tmp_path):
            process, _ = begin(tmp_path, nodes, "run", "space.yaml")
            history = runs / "small-1/trials/0001/epochs.jsonl"
            wait_for(lambda: history.exists() and len(history.read_text().splitlines()) >= 3, 240)
            process.send_signal(signal.SIGKILL)
            process.wait()
        with held(nodes, SECOND, tmp_path):
            run(tmp_path, nodes, "resume")
    assert curves(study_of(runs / "small-1")) == curves(undisturbed.study)
    assert hashes(RunPaths.at(runs / "small-1")) == hashes(undisturbed.paths)
    workers = [trial.user_attrs["worker"].partition(" on ")[2] for trial in study_of(runs / "small-1").trials]
    assert workers == [SECOND, HEAD, HEAD, HEAD]


DEMO = {"demonstrations": 200, "train": 40, "val": 16, "test": 12} | {
    "concepts": 16,
    "smallest_pool": 16,
    "largest_pool": 16,
}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_images_and_answers_of_a_node_without_files(tmp_path: Path) -> None:
    """Collecting, training and evaluating on a node that has neither the runs nor the images."""
    runs = tmp_path / "runs"
    runs.mkdir()
    small = {"data": None, "parameters": {"grpo.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}}}
    asking: dict[str, object] = {
        "items": {"demo": DEMO},
        "vlm": {"model": {"path": "demo"}, "images": {"min_pixels": 784, "max_pixels": 12544}},
        "collect": {"beams": {"similarity": 1, "similarity_sampled": 0, "random": 3}},
        "evaluation": {"shots": 2, "top": 1, "samples": None, "finalists": {"count": 1, "seeds": 1}},
    }
    file = write_space(tmp_path, **SMALL_RUN, **asking, **small)
    file.write_text(file.read_text().replace("data: null\n", ""))
    with cluster(tmp_path, [runs]) as (nodes, mark), held(nodes, HEAD, tmp_path):
        output = run(tmp_path, nodes, "run", "space.yaml")
        assert seen_by_second(mark, runs) == []
    (line,) = [line for line in output.splitlines() if " lacks images (" in line]
    assert line.startswith(f"node {SECOND}") and f"{runs}/_shared/items/" in line
    table = json.loads((runs / "small-1/evaluations/declared/evaluation.json").read_bytes())
    assert table["failures"] == {}, table["failures"]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("lacking", ["package", "version"])
def test_a_node_with_other_packages_is_named_before_the_first_trial(tmp_path: Path, lacking: str) -> None:
    hidden, second = [Path(safetensors.__file__).parent], {}
    expected = "cannot import name 'SafetensorError' from 'safetensors'"  # its folder is there, and empty
    if lacking == "version":
        other = tmp_path / "others"
        (other / "torch-9.9.9.dist-info").mkdir(parents=True)
        (other / "torch-9.9.9.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
        hidden, second = [tmp_path / "none"], {"PYTHONPATH": f"{other}:{os.environ.get('PYTHONPATH', '')}"}
        hidden[0].mkdir()
        expected = "torch 9.9.9 is not the driver's "
    write_space(tmp_path, **SMALL_RUN)
    with cluster(tmp_path, hidden, own=second) as (nodes, _):
        output = run(tmp_path, nodes, "run", "space.yaml")
    trials = study_of(tmp_path / "runs" / "small-1").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert all(trial.user_attrs["worker"].endswith(f" on {HEAD}") for trial in trials)
    assert not any("worker_deaths" in trial.user_attrs for trial in trials), "no trial has a part in it"
    (told,) = [line for line in output.splitlines() if f"node {SECOND}" in line]
    assert "is left out: " in told and expected in told, output
