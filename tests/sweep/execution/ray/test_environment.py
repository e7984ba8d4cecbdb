"""What Ray's environment variables mean to a sweep, and that Ray still knows those that are set for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from sweep.errors import ClusterError
from sweep.execution.ray.environment import (
    ADDRESS,
    INHERITED,
    STARTED_HERE,
    WAITS,
    Named,
    environment,
    named_address,
    started_here,
)
from sweep.execution.ray.options import RayOptions

CHOICE = "RAY_worker_niceness"  # about any Ray
RAY = Path(ray.__file__).parent
FILES = {
    "run": "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))",
    "packs.py": "from ray._private.worker import _maybe_modify_runtime_env as ask\nprint('packs', ask(None, False))",
    "pyproject.toml": "",
}


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [
        (None, None, Named(None, ADDRESS)),
        (None, "", Named(None, ADDRESS)),
        (None, "local", Named(None, ADDRESS)),
        (None, "auto", Named("auto", ADDRESS)),
        (None, "10.0.0.1:6379", Named("10.0.0.1:6379", ADDRESS)),
        ("head:6379", "10.0.0.1:6379", Named("head:6379", "--address")),
        ("auto", "10.0.0.1:6379", Named("auto", "--address")),
        ("local", "10.0.0.1:6379", Named(None, "--address")),
    ],
)
def test_ray_address_is_what_address_means(option: str | None, variable: str | None, expected: Named) -> None:
    found = named_address(RayOptions(option), {} if variable is None else {ADDRESS: variable})
    assert found == expected


@pytest.mark.parametrize(
    ("option", "variable", "said"),
    [
        ("", None, "--address is empty: give `auto` or host:port"),
        (None, "http://127.0.0.1:8265", "RAY_ADDRESS is http://127.0.0.1:8265, which is a dashboard.*sweep submit"),
        (None, "ray://head:10001", "RAY_ADDRESS is ray://head:10001: a sweep cannot be driven through Ray Client"),
        ("https://ray.example", None, "--address is https://ray.example, which is a dashboard"),
    ],
)
def test_an_address_that_no_driver_can_join(option: str | None, variable: str | None, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        named_address(RayOptions(option), {} if variable is None else {ADDRESS: variable})


def test_a_ray_on_this_machine_inherits_nothing_of_another() -> None:
    set_before = dict.fromkeys([*INHERITED, *STARTED_HERE, CHOICE], "1")
    with environment(set_before), environment(started_here(os.environ)):
        assert not [name for name in INHERITED if name in os.environ]
        assert {name: os.environ[name] for name in STARTED_HERE} == STARTED_HERE
        assert os.environ[CHOICE] == "1"
        for name in ("no_proxy", "NO_PROXY"):
            assert "127.0.0.1" in os.environ[name].split(",")
    assert not [name for name in INHERITED if os.environ.get(name) == "1"]


def test_a_wait_that_the_user_set_stays() -> None:
    name = next(iter(WAITS))
    assert name not in started_here({name: "7"})
    assert started_here({})[name] == str(WAITS[name].ours)


def test_the_installed_ray_knows_the_waits() -> None:
    programs = [RAY / "_raylet.so", *(RAY / "core/src/ray").glob("*/*"), *(RAY / "_private").glob("*.py")]
    contents = b"".join(file.read_bytes() for file in programs if file.is_file())
    assert not [name for name in (*WAITS, *STARTED_HERE) if name.encode() not in contents]


def test_the_waits_are_longer_than_those_of_the_installed_ray() -> None:
    from ray._private.ray_constants import RAY_DASHBOARD_STARTUP_TIMEOUT_S
    from ray._raylet import Config

    told = {name: getattr(Config, name.removeprefix("RAY_"), lambda: None)() for name in WAITS}
    told["RAY_DASHBOARD_STARTUP_TIMEOUT_S"] = RAY_DASHBOARD_STARTUP_TIMEOUT_S
    known = {name: value for name, value in told.items() if value is not None}
    assert len(known) >= 4, "Ray shows these to Python"
    assert known == {name: WAITS[name].default for name in known}
    assert all(wait.ours > wait.default for wait in WAITS.values())


def packs(folder: Path, line: list[str], variables: dict[str, str], program: str | None = None) -> str:
    """What Ray would give every worker, asked by a process below a command. `program` is run in its place."""
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    kept = {name: value for name, value in os.environ.items() if name not in STARTED_HERE}
    done = subprocess.run(
        line, executable=program, cwd=folder, env=kept | variables, capture_output=True, text=True, check=False
    )
    assert "packs " in done.stdout, done.stderr
    return done.stdout.partition("packs ")[2].strip()


def test_below_uv_run_nothing_is_packed_for_a_ray_on_this_machine(tmp_path: Path) -> None:
    line = ["uv", "run", sys.executable, "packs.py"]  # of a process that is called so: Ray looks at its parents
    assert "working_dir" in packs(tmp_path / "plain", line, {}, sys.executable), "or else this test shows nothing"
    assert packs(tmp_path / "ours", line, STARTED_HERE, sys.executable) == "None"


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
def test_uv_itself(tmp_path: Path) -> None:
    line = ["uv", "run", "--offline", "--no-project", "--python", sys.executable, "python", "packs.py"]
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert "working_dir" in packs(tmp_path / "plain", line, variables)
    assert packs(tmp_path / "ours", line, variables | STARTED_HERE) == "None"
