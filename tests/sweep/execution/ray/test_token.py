"""Who can read the token with which code is run as the user."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweep.execution.ray.token import WITH_RAYS_COMMAND, own_token
from tests.sweep.execution.ray.users import IS_ROOT, as_nobody


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize("umask", [0, 0o022])
def test_it_is_made_for_the_user_alone_whatever_the_umask(home: Path, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert own_token({}, home, tmp_path) == ({}, WITH_RAYS_COMMAND)
    finally:
        os.umask(before)
    file = home / ".ray" / "auth_token"
    assert mode(file) == 0o600 and mode(file.parent) == 0o700 and len(file.read_text()) == 64
    assert [one.name for one in file.parent.iterdir()] == ["auth_token"]


def test_one_that_others_could_read_is_closed_and_stays_the_same(home: Path, tmp_path: Path) -> None:
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("of another Ray that runs")
    file.chmod(0o644)
    assert own_token({}, home, tmp_path)[0] == {}
    assert mode(file) == 0o600 and file.read_text() == "of another Ray that runs"


def test_drivers_that_start_together_have_one_token(home: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: own_token({}, home, tmp_path), range(32)))
    assert [one.name for one in (home / ".ray").iterdir()] == ["auth_token"]


@pytest.mark.parametrize("broken", ["no home", "home is a file", "the token is empty"])
def test_without_a_home_of_use_it_is_in_the_private_folder(home: Path, tmp_path: Path, broken: str) -> None:
    used: Path | None = home
    if broken == "no home":
        used = None
    elif broken == "home is a file":
        used = tmp_path / "file"
        used.write_text("")
    else:
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text("\n")
    changes, sign_in = own_token({}, used, tmp_path)
    assert changes == {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")} and str(tmp_path / "token") in sign_in
    assert mode(tmp_path / "token") == 0o600


@pytest.mark.parametrize(
    "chosen", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "x"}, {"RAY_AUTH_TOKEN_PATH": "/run/secrets/token"}]
)
def test_what_the_user_chose_stays(home: Path, tmp_path: Path, chosen: dict[str, str]) -> None:
    assert own_token(chosen, home, tmp_path)[0] == {}
    assert not (home / ".ray").exists() and not (tmp_path / "token").exists()


@IS_ROOT
def test_another_user_cannot_read_it(short: Path, tmp_path: Path) -> None:
    (home := short / "home").mkdir(mode=0o755)
    own_token({}, home, tmp_path)
    (home / ".ray").chmod(0o755)
    assert as_nobody("open(path).read()", home / ".ray" / "auth_token") == "PermissionError"
