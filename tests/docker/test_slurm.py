"""The Slurm script: what it starts, how it ends, and when it asks for another turn. Ray and the sweep are stand-ins
here, except in the last test.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docker.images import ROOT, program
from tests.docker.slurm import JOB, SCRIPT, SRUN, Job, directives

RAY = """\
[ "$1" = start ] || exit 0
printf '%s\\n' "$RAY_AUTH_MODE" "$(stat -c '%a %s' "$RAY_AUTH_TOKEN_PATH")" "${@: -1}" >"$HOME/seen.$$"
trap 'exit 0' TERM
while :; do sleep 0.05; done
"""
PYTHON = """\
case "$*" in
    -c*) printf '%064d\\n' 1 ;;
    "- "*) until [ "$(find "$HOME" -name 'seen.*' | wc -l)" = "$3" ]; do sleep 0.02; done ;;
    "-m sweep"*)
        [ ! -e "$HOME/code" ] || exit "$(cat "$HOME/code")"
        trap 'exit "$(cat "$HOME/stopped" 2>/dev/null || echo 130)"' TERM
        while :; do sleep 0.05; done
        ;;
esac
"""
SPACE = """\
name: small
data: {demo: {items: 300, queries: 60}}
trial:
  model: {hidden: 16, heads: 2}
  rce: {epochs: 2, reward: {mode: hard_plus_soft}}
  grpo: {epochs: 3}
parameters:
  grpo.lr: {type: float, low: 1e-5, high: 1e-2, log: true}
budget: {trials: 8}
"""
HERE = f"localhost:{20000 + JOB % 2500 * 5}"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(tmp_path, "localhost second third")
    job.program("ray", RAY)
    job.program("python", PYTHON)
    return job


def drivers(job: Job) -> list[list[str]]:
    return [call[3:] for call in job.calls() if call[:3] == ["python", "-m", "sweep"]]


def test_linter_has_nothing_to_say() -> None:
    result = subprocess.run([program("shellcheck"), str(SCRIPT)], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    assert SCRIPT.stat().st_mode & 0o111 == 0o111


def test_slurm_is_asked_for_what_the_script_relies_on() -> None:
    asked = directives()
    warned = re.fullmatch(r"B:USR1@(\d+)", asked["--signal"])
    assert warned and int(warned[1]) >= 300  # to the script alone, with time for the running epochs
    assert {"--requeue", "--no-kill"} <= set(asked)
    assert (asked["--ntasks-per-node"], asked["--open-mode"]) == ("1", "append")


def test_one_node_on_each_machine_then_the_sweep_then_nothing_left(job: Job) -> None:
    (job.home / "code").write_text("0")
    assert job.run("spaces/grpo.yaml", "--set", "budget.trials=8") == 0
    steps = [call for call in job.calls() if call[0] == "srun"]
    machines = [next(word for word in step if word.startswith("--nodelist=")) for step in steps]
    assert sorted(machines) == ["--nodelist=localhost", "--nodelist=second", "--nodelist=third"]
    nodes = [call for call in job.calls() if call[:2] == ["ray", "start"]]
    (head,) = [node for node in nodes if "--head" in node]
    assert "--dashboard-host=127.0.0.1" in head
    assert len(nodes) == 3 and all(f"--address={HERE}" in node for node in nodes if node is not head)
    assert all("--num-cpus=1" in node for node in nodes)
    ours = ["--name", f"sweep-{JOB}", "--runs", "runs", "--address", HERE, "--resume"]
    assert drivers(job) == [["run", "spaces/grpo.yaml", "--set", "budget.trials=8", *ours]]
    assert ["scontrol", "requeue", str(JOB)] not in job.calls()
    assert not list(Path("/tmp").glob(f"sweep-{JOB}.*"))  # the nodes' folders
    assert [path.name for path in job.home.glob(".*")] == []  # the token


def test_token_is_the_jobs_own_in_a_file_that_others_cannot_read(job: Job) -> None:
    (job.home / "code").write_text("0")
    job.environment["RAY_AUTH_TOKEN"] = "somebody's"
    job.run("spaces/grpo.yaml")
    seen = [file.read_text().split("\n")[:2] for file in job.home.glob("seen.*")]
    assert seen == [["token", "600 65"]] * 3
    assert f"{1:064d}" not in job.log.read_text() + job.calls_file.read_text()


def test_name_and_folder_of_the_run_can_be_given(job: Job) -> None:
    (job.home / "code").write_text("0")
    job.environment |= {"SWEEP_NAME": "grpo-1", "SWEEP_RUNS": "s3://bucket/runs"}
    assert job.run("x.yaml") == 0
    assert " ".join(drivers(job)[0]).startswith("run x.yaml --name grpo-1 --runs s3://bucket/runs --address ")


@pytest.mark.parametrize(("gpus", "pool"), [("2", "gpu"), ("", "cpu")])
def test_nodes_say_whether_they_have_gpus(job: Job, gpus: str, pool: str) -> None:
    (job.home / "code").write_text("0")
    job.environment["SLURM_GPUS_ON_NODE"] = gpus
    job.run("x.yaml")
    assert all(f"--labels=pool={pool}" in call for call in job.calls() if call[:2] == ["ray", "start"])


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_the_job_ends_with_the_sweeps_exit_code_and_has_no_other_turn(job: Job, code: int) -> None:
    (job.home / "code").write_text(str(code))
    assert job.run("spaces/grpo.yaml") == code
    assert ["scontrol", "requeue", str(JOB)] not in job.calls()


@pytest.mark.parametrize(
    ("number", "stopped", "turns"),
    [(signal.SIGUSR1, 130, 1), (signal.SIGUSR1, 0, 0), (signal.SIGTERM, 130, 0)],
    ids=["time is over", "time is over, but the sweep too", "cancelled"],
)
def test_a_signal_stops_the_sweep_and_the_end_of_time_asks_for_another_turn(
    job: Job, number: signal.Signals, stopped: int, turns: int
) -> None:
    (job.home / "stopped").write_text(str(stopped))
    process = job.start("spaces/grpo.yaml")
    job.await_call("sweep", "run")
    process.send_signal(number)
    assert job.ended(process) == stopped
    assert job.calls().count(["scontrol", "requeue", str(JOB)]) == turns
    assert not list(job.home.glob(".sweep*")) and not list(Path("/tmp").glob(f"sweep-{JOB}.*"))


def test_a_job_whose_time_is_over_before_its_sweep_began_has_no_other_turn(job: Job) -> None:
    job.environment["MACHINES"] = "localhost second"
    job.program("python", PYTHON.replace('= "$3"', "= 3"))  # which never come
    process = job.start("spaces/grpo.yaml")
    job.await_call("python", "-", HERE, "2", "600")
    process.send_signal(signal.SIGUSR1)
    assert job.ended(process) != 0
    assert "give the job more --time" in job.log.read_text()
    assert drivers(job) == [] and ["scontrol", "requeue", str(JOB)] not in job.calls()


def test_a_head_that_does_not_start_ends_the_job(job: Job) -> None:
    job.program("ray", "exit 1\n")
    assert job.run("spaces/grpo.yaml") == 1
    assert "the head of the cluster did not start" in job.log.read_text()
    assert drivers(job) == []


@pytest.mark.parametrize(
    ("arguments", "changes", "complaint"),
    [
        ((), {}, "no space"),
        (("x.yaml", "--name", "n"), {}, "give the name in SWEEP_NAME"),
        (("x.yaml", "--runs=r"), {}, "give the folder of the runs in SWEEP_RUNS"),
        (("x.yaml", "--address", "auto"), {}, "--address is this job's own cluster"),
        (("x.yaml",), {"SLURM_JOB_ID": ""}, "this script is for sbatch"),
        (("x.yaml",), {"PATH": "/usr/bin:/bin"}, "activate the environment"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(
    job: Job, arguments: tuple[str, ...], changes: dict[str, str], complaint: str
) -> None:
    job.environment |= changes
    assert job.run(*arguments) == 2
    line = job.log.read_text()
    assert line.startswith("error: ") and complaint in line and len(line.splitlines()) == 1
    assert job.calls() == []


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_sweep_on_two_nodes_is_stopped_in_time_and_ended_in_its_second_turn(tmp_path: Path) -> None:
    # Addresses of this machine alone, which Ray, unlike 127.0.0.1, does not turn into the outer one.
    job = Job(tmp_path, "127.0.0.2 127.0.0.3", number=os.getpid())
    address = 'address=$(printf "%s\\n" "$@" | sed -n "s/^--nodelist=//p" | head -n 1)\n'
    job.program("srun", address + SRUN.replace('exec "$@"', 'exec "$@" --node-ip-address="$address"'))
    job.environment |= {
        "PATH": f"{job.programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "SWEEP_OBJECT_STORE": "100000000",
    }
    space = tmp_path / "space.yaml"
    space.write_text(SPACE, encoding="utf-8")
    run = tmp_path / "runs" / f"sweep-{os.getpid()}"

    first = job.start(str(space))
    deadline = time.monotonic() + 300
    while not list(run.glob("trials/*/epochs.jsonl")):
        assert first.poll() is None and time.monotonic() < deadline, job.log.read_text()
        time.sleep(0.1)
    first.send_signal(signal.SIGUSR1)
    assert job.ended(first, 120) == 130
    assert job.calls()[-1] == ["scontrol", "requeue", str(os.getpid())]
    ended = len(list(run.glob("trials/*/study.json")))
    assert not (run / "ranking.json").exists()

    job.environment["SLURM_RESTART_COUNT"] = "1"
    assert job.run(str(space), timeout=500) == 0, job.log.read_text()
    assert (run / "ranking.json").exists()
    assert ended < len(list(run.glob("trials/*/study.json"))) == 8
    nodes = [call for call in job.calls() if call[0] == "srun"]
    assert len(nodes) == 4 and not list(Path("/tmp").glob(f"sweep-{os.getpid()}.*"))
