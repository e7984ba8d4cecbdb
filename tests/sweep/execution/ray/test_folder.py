"""Ray's temporary folder: where it is, who may enter it, and when it goes."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.errors import ClusterError
from sweep.execution.ray import folder as module
from sweep.execution.ray.folder import ALIVE, LONGEST_SOCKET, ROOM, make_folder, remove_abandoned
from tests.sweep.execution.ray.users import IS_ROOT, as_nobody


def test_it_is_private_while_rays_own_folder_may_be_open(short: Path) -> None:
    made = make_folder({"TMPDIR": str(short)})
    assert made.path.parent == short and made.rays.parent == made.path
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    made.remove()
    assert not list(short.iterdir())


def test_sockets_of_ray_fit_into_the_longest_place(short: Path) -> None:
    place = short / ("x" * (ROOM - len(str(short)) - 1))
    place.mkdir()
    made = make_folder({"TMPDIR": str(place)})
    assert made.path.parent == place
    deep = made.rays / LONGEST_SOCKET
    deep.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(str(deep))
    made.remove()


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_place_that_is_too_long_is_replaced_and_named(variable: str, tmp_path: Path) -> None:
    place = tmp_path / ("x" * ROOM)
    place.mkdir()
    said: list[str] = []
    made = make_folder({variable: str(place)}, said.append)
    assert made.path.parent == Path("/tmp") and not list(place.iterdir())
    made.remove()
    assert len(said) == 1 and said[0].startswith(f"{variable}={place}: its path has {len(str(place))} characters")
    assert f"room for {ROOM}" in said[0] and "below /tmp instead" in said[0]


def test_no_place_at_all_names_every_one_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_named(environment: dict[str, str]) -> Iterator[tuple[str, Path]]:
        yield "RAY_TMPDIR=", tmp_path / "nowhere"
        (tmp_path / "file").write_text("")
        yield "TMPDIR=", tmp_path / "file"

    monkeypatch.setattr(module, "_places", only_named)
    with pytest.raises(ClusterError, match=f"nowhere: No such file.*file: Not a directory.*TMPDIR.*most {ROOM} char"):
        make_folder({})


def test_those_of_killed_drivers_go_and_nothing_else(short: Path) -> None:
    living = make_folder({"TMPDIR": str(short)})
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, signal, sys\nfrom sweep.execution.ray.folder import make_folder\n"
            "print(make_folder(os.environ).path, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)",
        ],
        env=os.environ | {"TMPDIR": str(short), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    left = Path(killed.stdout.strip())
    assert killed.returncode < 0 and (left / ALIVE).exists()
    (short / "sweep-manyfile").write_text("no folder")
    (short / "sweep-someones").mkdir()  # not made here: it has no lock
    (short / "sweep-onelinks").symlink_to(left)
    remove_abandoned(short)
    assert sorted(path.name for path in short.iterdir()) == sorted(
        [living.path.name, "sweep-manyfile", "sweep-someones", "sweep-onelinks"]
    )
    living.remove()


@IS_ROOT
def test_another_user_reads_no_log_and_renames_no_socket(short: Path) -> None:
    """Ray makes all that is in its folder open to everybody, and writes secrets into its logs."""
    made = make_folder({"TMPDIR": str(short)})
    session = made.rays / "session_2"
    for folder in (session, session / "logs", session / "sockets"):
        folder.mkdir()
        folder.chmod(0o777)
    (log := session / "logs" / "runtime_env_agent.log").write_text("AWS_SECRET_ACCESS_KEY")
    with socket.socket(socket.AF_UNIX) as raylet:
        raylet.bind(str(session / "sockets" / "raylet"))
    tried = {
        "open(path).read()": log,
        "os.listdir(path)": made.path,
        "os.rename(path, path + '-mine')": session / "sockets" / "raylet",
    }
    assert [as_nobody(action, path) for action, path in tried.items()] == ["PermissionError"] * 3
    for folder in (made.path, made.rays):
        folder.chmod(0o777)
    assert [as_nobody(action, path) for action, path in tried.items()] == ["done"] * 3, "as it is without the folder"
    made.remove()
