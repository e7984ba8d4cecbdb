"""The entry command: what it starts for which arguments, and what it refuses. `ray` and `python` are recorders here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docker.images import ENTRYPOINT, program

TOKEN = "0123456789abcdef" * 4
NODE = ["--metrics-export-port=8080", "--dashboard-agent-listen-port=52365", "--object-store-memory=1073741824"]
HEAD = ["start", "--head", "--block", "--port=6379", "--dashboard-host=0.0.0.0", *NODE]
JOIN = ["start", "--address=head:6379", "--num-cpus=0", "--num-gpus=0", *NODE]


class Box:
    """A PATH with recorders in place of `ray` and `python`, and a token."""

    def __init__(self, folder: Path):
        self.calls_file = folder / "calls"
        self.token = folder / "token"
        self.token.write_text(TOKEN + "\n")
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in ("ray", "python"):
            self.program(name, 0)
        self.environment = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
        }

    def program(self, name: str, status: int) -> None:
        file = self.programs / name
        record = f"printf '%s\\037' {name} \"$@\" >>'{self.calls_file}'; printf '\\036' >>'{self.calls_file}'"
        file.write_text(f"#!/bin/sh\n{record}\necho output of {name}\nexit {status}\n")
        file.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(ENTRYPOINT), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30)

    def calls(self) -> list[list[str]]:
        if not self.calls_file.exists():
            return []
        return [call.split("\037")[:-1] for call in self.calls_file.read_text().split("\036")[:-1]]


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def test_is_an_executable_posix_script():
    assert ENTRYPOINT.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    assert ENTRYPOINT.stat().st_mode & 0o111 == 0o111
    subprocess.run(["sh", "-n", str(ENTRYPOINT)], check=True, timeout=10)


def test_head(box):
    assert box.run("head", "--num-cpus=0").returncode == 0
    assert box.calls() == [["ray", *HEAD, "--num-cpus=0"]]


def test_worker_joins_the_head_that_the_environment_names(box):
    assert box.run("worker", "--num-gpus=1").returncode == 0
    box.environment["SWEEP_HEAD"] = "other:1234"
    assert box.run("worker").returncode == 0
    assert box.calls() == [
        ["ray", "start", "--address=head:6379", "--block", *NODE, "--num-gpus=1"],
        ["ray", "start", "--address=other:1234", "--block", *NODE],
    ]


def test_object_store_and_agent_port_can_be_set(box):
    box.environment |= {"SWEEP_OBJECT_STORE": "200000000", "SWEEP_AGENT_PORT": "9999"}
    box.run("head")
    assert box.calls()[0][-2:] == ["--dashboard-agent-listen-port=9999", "--object-store-memory=200000000"]
    box.run("health")
    assert box.calls()[-1][-1] == "http://127.0.0.1:9999/api/local_raylet_healthz"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help",),
        ("validate", "spaces/grpo.yaml"),
        ("run", "a space.yaml", "--name", "x; rm *"),
        ("status", "$HOME"),
    ],
)
def test_anything_else_is_a_sweep_command_unchanged(box, arguments):
    assert box.run(*arguments).returncode == 0
    assert box.calls() == [["python", "-m", "sweep", *arguments]]


def test_sweep_commands_need_no_token_of_their_own(box):
    for name in ("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        del box.environment[name]
    assert box.run("run", "spaces/grpo.yaml").returncode == 0
    assert box.calls() == [["python", "-m", "sweep", "run", "spaces/grpo.yaml"]]


@pytest.mark.parametrize("address", [("--address", "head:6379"), ("--address=head:6379",)], ids=["two words", "one"])
def test_driver_becomes_a_node_before_it_runs(box, address):
    result = box.run("run", "spaces/grpo.yaml", *address, "--name", "n")
    assert result.returncode == 0
    assert box.calls() == [
        ["ray", *JOIN],
        ["python", "-m", "sweep", "run", "spaces/grpo.yaml", *address, "--name", "n"],
    ]
    assert "output of ray" not in result.stdout + result.stderr  # Ray's greetings are not the user's concern


def test_address_auto_means_a_node_is_there_already(box):
    box.run("run", "spaces/grpo.yaml", "--address", "auto")
    assert [call[0] for call in box.calls()] == ["python"]


@pytest.mark.parametrize(
    ("arguments", "joins"),
    [
        (("run", "x.yaml"), True),
        (("resume",), True),
        (("run", "x.yaml", "--address", "auto"), False),
        (("status",), False),
    ],
)
def test_ray_address_names_the_cluster_of_commands_that_drive_a_run(box, arguments, joins):
    box.environment["RAY_ADDRESS"] = "head:6379"
    box.run(*arguments)
    assert box.calls() == [["ray", *JOIN]] * joins + [["python", "-m", "sweep", *arguments]]


def test_driver_that_cannot_join_stops_and_shows_why(box):
    box.program("ray", 1)
    result = box.run("run", "spaces/grpo.yaml", "--address", "head:6379")
    assert result.returncode == 2
    assert "output of ray" in result.stderr
    assert result.stderr.endswith("error: cannot join the Ray cluster at head:6379\n")
    assert [call[0] for call in box.calls()] == ["ray"]


@pytest.mark.parametrize("arguments", [("head",), ("worker",), ("run", "spaces/grpo.yaml", "--address", "head:6379")])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"RAY_AUTH_MODE": None}, "RAY_AUTH_MODE is ''"),
        ({"RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE is 'disabled'"),
        ({"RAY_AUTH_TOKEN_PATH": None}, "RAY_AUTH_TOKEN_PATH is not set"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, "/nowhere/token, which is not a file"),
        ({"RAY_AUTH_TOKEN_PATH": "/"}, "which is not a file"),
        ({"RAY_AUTH_TOKEN": TOKEN}, "RAY_AUTH_TOKEN is set"),
        ({"token": ""}, "fewer than 32 characters"),
        ({"token": " \n" * 40}, "fewer than 32 characters"),
        ({"token": "password\n"}, "fewer than 32 characters"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_no_node_starts_without_a_token(box, arguments, change, complaint):
    for name, value in change.items():
        if name == "token":
            box.token.write_text(value)
        elif value is None:
            del box.environment[name]
        else:
            box.environment[name] = value
    result = box.run(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert complaint in result.stderr
    assert TOKEN not in result.stderr
    assert box.calls() == []


@pytest.mark.parametrize("failing", ["ray", "python"])
def test_health_needs_both_answers(box, failing):
    assert box.run("health").returncode == 0
    assert [call[:2] for call in box.calls()] == [["ray", "health-check"], ["python", "-c"]]
    box.program(failing, 1)
    assert box.run("health").returncode != 0


def test_linter_has_nothing_to_say():
    result = subprocess.run([program("shellcheck"), str(ENTRYPOINT)], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
