"""`run.json`: what a run is, written before its first trial."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import ValidationError

from selector.settings import FrozenModel
from sweep.errors import RunError
from sweep.runs.paths import RunPaths, sqlite_url
from sweep.storage.outage import is_outage


class RunRecord(FrozenModel):
    """The resolved space, where its data is and its fingerprint, the study's address and the versions of a run.

    Attributes:
        data: the data's absolute path, so that a run can be continued from any folder. None for the demo data. Relative
            to the folder of runs if that is elsewhere and the data was collected into it.
        embeddings: their absolute path, where they were named.
        data_fingerprint: None while the run's own data is still being collected.
        embed: what made the embeddings and their hashes, where section `embed` of the space did.
        study: the study's name: the run's when it was started, whatever its folder is called today.
        overrides: assignments `PATH=VALUE` of the command line that count instead of what `space.yaml` says.
        init_from: SHA-256 of the weights that all trials start from. None: each from its own seed.
        storage: the study's URL; None for the file in the run folder, which may be moved or copied with it.
    """

    format: Literal["sweep-run/1"] = "sweep-run/1"
    space: dict[str, Any]
    data: Path | None
    embeddings: Path | None
    data_fingerprint: str | None
    embed: dict[str, Any] | None = None
    study: str
    storage: str | None
    versions: dict[str, str]
    overrides: tuple[str, ...] = ()
    init_from: str | None = None

    @property
    def fingerprint(self) -> str:
        """The data's. Raises RunError while it is still being collected."""
        if self.data_fingerprint is None:
            raise RunError("the run's data is not collected yet: `python -m sweep resume` goes on with it")
        return self.data_fingerprint

    def storage_url(self, paths: RunPaths) -> str:
        """The URL of the study of the run in this folder.

        A run's record may be a stranger's. It cannot send us to another database: what lies outside the run's folder
        is used only if the user names it (`RunPaths.storage`).

        Raises:
            RunError: the record, or a link, leads out of the folder, and the user named no database.
        """
        root = paths.root.local().resolve() if not paths.root.is_remote else None
        if self.storage is None:
            file = paths.study_file.local().resolve()
            if root is None or file.is_relative_to(root):
                return sqlite_url(file)
            raise RunError(
                f"{paths.study_file} is a link to {file}, outside the run's folder: put the file itself there"
            )
        inside = _file_of(self.storage)
        if root is not None and inside is not None and inside.is_relative_to(root):
            return sqlite_url(inside)
        if paths.storage is not None:
            return paths.storage
        raise RunError(
            f"run {paths.name} keeps its study outside its folder, in {_public(self.storage)}. A record may be a "
            f"stranger's, so name that database yourself: --storage URL, or the environment variable {STORAGE}"
        )


STORAGE = "SWEEP_STORAGE"
"""Environment variable that names the database of runs that keep their study outside their folder."""


def _file_of(url: str) -> Path | None:
    """The file of a SQLite URL, links followed. None for every other one."""
    head, slashes, rest = url.partition(":///")
    if not slashes or head.partition("+")[0] != "sqlite" or "?" in rest or "\0" in rest:
        return None
    return Path(unquote(rest)).resolve()


def _public(url: str) -> str:
    """A URL without user, password and options, which are found as SQLAlchemy finds them."""
    scheme, separator, rest = url.partition("://")
    found = re.match(r"(?:[^:/]*(?::[^@]*)?@)?([^?]*)", rest)
    return f"{scheme}{separator}{found[1]}" if separator and found else repr(url)


def read_record(paths: RunPaths) -> RunRecord:
    """The record of a run. Raises RunError if the folder is not a run's."""
    try:
        return RunRecord.model_validate_json(paths.run_file.read_bytes())
    except OSError as error:
        if is_outage(error):
            raise
        raise RunError(f"{paths.shown}: not a run folder ({paths.run_file.name} is missing)") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{paths.run_file}: damaged, or of another version: {f'{where}: ' if where else ''}{first['msg']}"
        ) from None
