"""The token with which this user's processes show Ray, and Ray's dashboard, that they are his.

Whoever has it can run code as him. Ray would make its file with the rights that the umask leaves. So it is made here,
before Ray looks for it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sweep.execution.ray.environment import TOKEN_FILE

WITH_RAYS_COMMAND = "`ray get-auth-token` prints the token it asks for"
_PRIVATE = 0o600


def own_token(environment: Mapping[str, str], home: Path | None, folder: Path) -> tuple[dict[str, str], str]:
    """Make sure that there is a token which nobody else can read.

    Args:
        environment: its `RAY_AUTH_...` variables are the user's own choice, which stays.
        home: the user's; the token in it serves all his Rays. None: he has none.
        folder: a private one, for a token where home cannot be used.

    Returns:
        Changes of the environment, and how to come by the token.
    """
    if environment.get("RAY_AUTH_MODE", "token").lower() != "token" or "RAY_AUTH_TOKEN" in environment:
        return {}, WITH_RAYS_COMMAND
    if TOKEN_FILE in environment:
        return {}, WITH_RAYS_COMMAND
    with suppress(OSError):
        if home is not None and _ensured(home / ".ray" / "auth_token"):
            return {}, WITH_RAYS_COMMAND
    file = folder / "token"
    _write(file)
    return {TOKEN_FILE: str(file)}, f"`cat {file}` prints the token it asks for"


def how_to_be_let_in(environment: Mapping[str, str]) -> str:
    """What to do where a cluster cannot be joined, whose token may be another. Ray itself says no word of it.

    Args:
        environment: of the driver.
    """
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        return (
            "if that cluster asks for a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file that holds "
            "it (on its head, `ray get-auth-token` prints it)"
        )
    name, value = "~/.ray/auth_token", ""
    if "RAY_AUTH_TOKEN" in environment:
        name = "RAY_AUTH_TOKEN"
    elif TOKEN_FILE in environment:
        name, value = TOKEN_FILE, f" ({environment[TOKEN_FILE]})"
    return f"is the token of {name}{value} that of the cluster? On its head, `ray get-auth-token` prints it"


def home_folder() -> Path | None:
    """The user's home. None: neither `HOME` nor the system's list of users knows it."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _ensured(file: Path) -> bool:
    """Whether there is a token that this user alone can read, now."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    if not file.exists():
        new = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        _write(new)
        try:
            with suppress(FileExistsError):  # another driver was faster
                os.link(new, file)  # never half-written, never over another's
        finally:
            new.unlink()
    if file.stat().st_mode & 0o077:
        file.chmod(_PRIVATE)
    return bool(file.read_text().strip())


def _write(file: Path) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w") as stream:
        stream.write(secrets.token_hex(32))
