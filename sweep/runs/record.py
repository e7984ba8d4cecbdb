"""`run.json`: what a run is, written before its first trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

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
        study: the study's name: the run's when it was started, whatever its folder is called today.
        overrides: assignments `PATH=VALUE` of the command line that count instead of what `space.yaml` says.
        storage: the study's URL; None for the file in the run folder, which may be moved or copied with it.
    """

    format: Literal["sweep-run/1"] = "sweep-run/1"
    space: dict[str, Any]
    data: Path | None
    embeddings: Path | None
    data_fingerprint: str | None
    study: str
    storage: str | None
    versions: dict[str, str]
    overrides: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The data's. Raises RunError while it is still being collected."""
        if self.data_fingerprint is None:
            raise RunError("the run's data is not collected yet: `python -m sweep resume` goes on with it")
        return self.data_fingerprint

    def storage_url(self, paths: RunPaths) -> str:
        """The URL of the study of the run in this folder."""
        return self.storage or sqlite_url(paths.study_file.local().resolve())


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
