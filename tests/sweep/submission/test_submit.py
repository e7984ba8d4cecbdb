"""From a space to a job, on a cluster of processes: what is checked before, and that a second submission goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sweep.errors import ClusterError, RunError
from sweep.execution.ray.jobs import JobState
from sweep.submission.jobs import (
    Answer,
    ask,
    exit_code_of,
    find_job,
    follow,
    known_job,
    reason_of_failure,
    resume_job,
    said_by_command,
    stop_job,
)
from sweep.submission.submit import RunOptions, Submission, check_cluster, hand_in, prepare
from sweep.submission.surroundings import Surroundings
from tests.sweep.spaces import SMALL
from tests.sweep.submission.cluster import Cluster, node

STAND_IN = """import sys, time
print("called", *sys.argv[1:], flush=True)
time.sleep(60 if "--slow" in sys.argv else 0)
sys.exit(3 if "--fail" in sys.argv else 0)
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    (tmp_path / "cluster").mkdir()
    return Cluster(tmp_path / "cluster")


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(SMALL)
    return "mine.yaml"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree whose program only says how it was called."""
    for name in ("sweep", "selector", "search_spaces"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        (tmp_path / "tree" / name / "__init__.py").write_text("")
    (tmp_path / "tree/sweep/__main__.py").write_text(STAND_IN)
    return tmp_path / "tree"


def made(space: str, tree: Path, *words: str, name: str | None = "mine") -> Submission:
    return prepare(space, RunOptions(name=name, runs="/data/runs", words=words), Surroundings(), tree)


def test_the_job_begins_or_goes_on(cluster: Cluster, space: str, tree: Path) -> None:
    name = hand_in(cluster, made(space, tree))  # type: ignore[arg-type]
    said = "".join(follow(cluster, name))  # type: ignore[arg-type]
    words = "run mine.yaml --name mine --runs /data/runs --address auto --resume"
    assert said_by_command(said, cluster.job(name)) == f"called {words}\n"
    assert (cluster.folder / name / "mine.yaml").read_text() == SMALL
    again = hand_in(cluster, made(space, tree))  # type: ignore[arg-type]
    assert again != name and cluster.known[again].entry_point == cluster.known[name].entry_point


def test_a_stream_that_breaks_is_taken_up_without_a_word_twice(cluster: Cluster, space: str, tree: Path) -> None:
    """The cluster breaks it twice, once in the middle of a line, while the job goes on."""
    name = hand_in(cluster, made(space, tree, "--slow"))  # type: ignore[arg-type]
    cluster.breaks = 2
    seen: list[int] = []

    def sleep(seconds: float) -> None:
        seen.append(cluster.breaks)
        if not cluster.breaks:
            cluster.stop(name)
            cluster.processes[name].wait()

    said = "".join(follow(cluster, name, sleep))  # type: ignore[arg-type]
    assert said == cluster.log(name) and seen[:2] == [1, 0]


def test_one_job_for_a_run(cluster: Cluster, space: str, tree: Path) -> None:
    name = hand_in(cluster, made(space, tree, "--slow"))  # type: ignore[arg-type]
    with pytest.raises(ClusterError, match=rf"run mine has job {name} already, which is running.*another --name"):
        check_cluster(cluster, made(space, tree))  # type: ignore[arg-type]
    stopped = stop_job(cluster, cluster.job(name), 20, lambda seconds: None)  # type: ignore[arg-type]
    assert (stopped.state, exit_code_of(stopped)) == (JobState.STOPPED, 130)
    check_cluster(cluster, made(space, tree))  # type: ignore[arg-type]


def test_a_run_is_found_by_its_name_and_by_its_jobs(cluster: Cluster, space: str, tree: Path) -> None:
    first, second = (hand_in(cluster, made(space, tree)) for _ in range(2))  # type: ignore[arg-type]
    other = hand_in(cluster, made(space, tree, name="other"))  # type: ignore[arg-type]
    found = [find_job(cluster, name).name for name in ("mine", first, None)]  # type: ignore[arg-type]
    assert found == [second, first, other]
    with pytest.raises(ClusterError, match=r"no job or run 'x'.*: mine, other.*forgets its jobs, and `python -m sweep"):
        find_job(cluster, "x")  # type: ignore[arg-type]


def test_an_exit_code_is_that_of_the_run(cluster: Cluster, space: str, tree: Path) -> None:
    name = hand_in(cluster, made(space, tree, "--fail"))  # type: ignore[arg-type]
    list(follow(cluster, name))  # type: ignore[arg-type]
    assert exit_code_of(cluster.job(name)) == 3


def test_a_question_is_answered_where_the_run_is(cluster: Cluster, space: str, tree: Path) -> None:
    """By the real program, which finds no such run; and nothing of the question is left on the list."""
    job = cluster.job(hand_in(cluster, made(space, tree)))  # type: ignore[arg-type]
    job = replace(job, labels={**job.labels, "runs": str(cluster.folder)})
    answer = ask(cluster, job, ["status"], lambda seconds: cluster.processes[[*cluster.known][-1]].wait())  # type: ignore
    assert answer == Answer(f"error: no run 'mine'; runs in {cluster.folder}: none\n", 2)
    assert [*cluster.known] == [job.name]


def test_resuming_takes_what_the_last_job_ran_in(cluster: Cluster, space: str, tree: Path) -> None:
    own = Surroundings(pip=("cmaes>=0.13",), variables=(("A", "b"),), python="python3")
    submission = prepare(space, RunOptions(name="mine", runs="s3://b/runs"), own, tree)
    first = hand_in(cluster, submission)  # type: ignore[arg-type]
    cluster.processes[first].wait()
    new = cluster.job(resume_job(cluster, first, None, ["--set=budget.trials=9"]))  # type: ignore[arg-type]
    assert new.runtime["pip"] == ["cmaes>=0.13"] and new.runtime["env_vars"]["A"] == "b"
    assert new.entry_point == (
        "exec python3 -m sweep resume mine --runs s3://b/runs --address auto --set=budget.trials=9"
    )
    cluster.processes[new.name].kill()


def test_a_run_whose_head_forgot_it_is_resumed_where_runs_are(cluster: Cluster) -> None:
    new = cluster.job(resume_job(cluster, "mine", "/data/runs", []))  # type: ignore[arg-type]
    assert new.entry_point == "exec python -m sweep resume mine --runs /data/runs --address auto"
    assert known_job(cluster, "mine") is not None  # type: ignore[arg-type]
    cluster.processes[new.name].kill()


def test_files_that_travelled_are_gone_with_the_job(cluster: Cluster, space: str, tree: Path) -> None:
    Path("data").mkdir()
    Path("data/one").write_text("1")
    Path(space).write_text(yaml.safe_dump({**yaml.safe_load(SMALL), "data": {"path": "data"}}))
    name = hand_in(cluster, made(space, tree))  # type: ignore[arg-type]
    assert (cluster.folder / name / "data/one").read_text() == "1"
    cluster.processes[name].wait()
    with pytest.raises(ClusterError, match=r"run mine needs data, which travelled.*submit SPACE .* -- --name mine"):
        resume_job(cluster, "mine", None, [])  # type: ignore[arg-type]


def test_what_no_node_has_is_said_before(cluster: Cluster, space: str, tree: Path) -> None:
    Path(space).write_text(yaml.safe_dump({**yaml.safe_load(SMALL), "resources": {"cpus": 1, "gpus": 2}}))
    cluster.has = [node(64), node(8, 1), node(8, 1)]
    with pytest.raises(ClusterError, match=r"a trial asks for 1 CPUs and 2 GPUs, the largest node .* has 64 and 1"):
        check_cluster(cluster, made(space, tree))  # type: ignore[arg-type]
    cluster.has.append(node(1, 2))
    check_cluster(cluster, made(space, tree))  # type: ignore[arg-type]


def test_labels_that_no_node_has_are_said_before(cluster: Cluster, space: str, tree: Path) -> None:
    wanted = {"cpus": 1, "labels": {"pool": "cpu"}}
    Path(space).write_text(yaml.safe_dump({**yaml.safe_load(SMALL), "resources": wanted}))
    with pytest.raises(ClusterError, match=r"labels that resources\.labels asks for \(pool=cpu\)"):
        check_cluster(cluster, made(space, tree))  # type: ignore[arg-type]
    cluster.has.append(node(1, pool="cpu"))
    check_cluster(cluster, made(space, tree))  # type: ignore[arg-type]


def test_a_head_whose_first_node_is_still_to_join_is_waited_for(cluster: Cluster, space: str, tree: Path) -> None:
    nodes, cluster.has = cluster.has, []
    check_cluster(cluster, made(space, tree), lambda seconds: cluster.has.extend(nodes))  # type: ignore[arg-type]
    cluster.has = []
    with pytest.raises(ClusterError, match=r"the largest node of the cluster has 0 and 0"):
        check_cluster(cluster, made(space, tree), lambda seconds: None)  # type: ignore[arg-type]


def test_an_old_ray_is_refused(cluster: Cluster, space: str, tree: Path) -> None:
    cluster.version = "2.9.3"
    with pytest.raises(ClusterError, match=r"runs Ray 2\.9\.3, and this program needs 2\.58 or newer"):
        check_cluster(cluster, made(space, tree))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ("runs", r"--runs runs: on the cluster it would begin at the job's own folder"),
        ("s3://KEY:SECRET@bucket/runs", r"would see the keys in it"),
        ("s3://bucket/runs?secret_key=abc", r"would see the keys in it"),
    ],
)
def test_a_folder_of_runs_that_a_job_cannot_have(space: str, tree: Path, runs: str, reason: str) -> None:
    with pytest.raises(RunError, match=reason) as refused:
        prepare(space, RunOptions(runs=runs), Surroundings(), tree)
    assert "SECRET" not in str(refused.value) and "abc" not in str(refused.value)


def test_into_an_image_nothing_travels_but_the_space(space: str, tree: Path) -> None:
    image = Surroundings(image="registry.example/sweep:1")
    found = prepare(space, RunOptions(name="mine"), image)
    assert not found.files and "printf %s" in found.entry_point() and "name: small" in found.entry_point()
    with pytest.raises(RunError, match=r"--working-dir cannot travel into an image"):
        prepare(space, RunOptions(), image, tree)


def test_what_travels_is_said(space: str, tree: Path) -> None:
    (label, travels), *rest = made(space, tree).lines()
    assert label == "travels" and travels.startswith("mine.yaml, and the code of ")
    assert dict(rest)["runs"] == "/data/runs (a folder of the head; on all nodes if shared)"


def test_why_a_job_failed_and_what_to_do(cluster: Cluster, space: str, tree: Path) -> None:
    job = cluster.job(hand_in(cluster, made(space, tree)))  # type: ignore[arg-type]
    reason = reason_of_failure(replace(job, exit_code=127), "sh: 1: exec: python: not found\n")
    assert reason == "sh: 1: exec: python: not found; name the interpreter of the cluster with --python"
    reason = reason_of_failure(replace(job, exit_code=1), "x\nModuleNotFoundError: No module named 'optuna'\n")
    assert reason.endswith("--pip same, or name an --image that has it")
    assert reason_of_failure(replace(job, message="no\nenv"), "") == "env"
