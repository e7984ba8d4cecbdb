"""Reading a study without writing anything: neither tables, nor a journal mode, nor a lock, nor a file beside it.

SQLite makes `-wal` and `-shm` beside a database even for who only reads it, so what is read is always a private copy.
Invariant: a copy holds what one transaction left, also while a driver writes.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL

from selector.errors import first_line
from sweep.errors import StudyError
from sweep.study import tables
from sweep.study.storage import BUSY_SECONDS, parsed, refused, without_password
from sweep.study.summaries import TrialSummary, summary

ATTEMPTS = 20
PAUSE_SECONDS = 0.1
BESIDE = ("-wal", "-journal")
"""Files that hold committed or half-done changes of the database beside them."""


def read_summaries(storage_url: str, study_name: str) -> list[TrialSummary]:
    """The trials of a study, read from another process while it runs or after. Nothing is written.

    Raises:
        StudyError: there is no such database or study, or it is damaged.
    """
    try:
        return [summary(trial) for trial in read_trials(storage_url, study_name)]
    except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
        where = f"study {study_name!r} in {without_password(storage_url)}"
        raise StudyError(f"{where} is damaged: {type(error).__name__}: {first_line(error)}") from None


def read_trials(url: str, name: str) -> list[FrozenTrial]:
    """The trials of a study, by number.

    Args:
        url: of its database. A SQLite file may be on a read-only file system, or be written to meanwhile.
        name: of the study.

    Raises:
        StudyError: there is no such database or study, it cannot be read, or it holds what no study has.
    """
    with _study(url, name) as (storage, study), storage.engine.connect() as connection:
        return tables.read_trials(connection, study)


def read_attributes(url: str, name: str) -> dict[str, Any]:
    """What a study holds beside its trials, as JSON values. Notes that people read and write are left out.

    Raises:
        StudyError: as `read_trials`.
    """
    with _study(url, name) as (storage, study):
        system = storage.get_study_system_attrs(study)
        found = {
            "directions": [direction.name.lower() for direction in storage.get_study_directions(study)],
            "user_attrs": storage.get_study_user_attrs(study),
            "system_attrs": {key: value for key, value in system.items() if not key.startswith("dashboard:")},
        }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


@contextmanager
def _study(url: str, name: str) -> Iterator[tuple[RDBStorage, int]]:
    """A storage to read from, and Optuna's number of the study in it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    where = f"storage {without_password(url)}"
    with refused(url), _readable(url) as storage:
        if storage is None:
            raise StudyError(f"{where} has no study {name!r}; has the run been started?")
        try:
            study = storage.get_study_id_from_name(name)
        except KeyError:
            raise StudyError(f"{where} has no study {name!r}; has the run been started?") from None
        yield storage, study


@contextmanager
def _readable(url: str) -> Iterator[RDBStorage | None]:
    """A storage to read from. None: the database is there and has no studies."""
    address = parsed(url)
    if address.get_backend_name() != "sqlite":
        yield from _on_server(url, address)
        return
    file = Path(address.database or "")
    if not file.is_file():
        raise StudyError(f"storage {without_password(url)}: there is no such file; has the run been started?")
    with TemporaryDirectory(prefix="sweep-study-") as folder:
        copy = Path(folder) / "study.db"
        copy_database(file, copy)
        _check_passive(copy, url)
        storage = RDBStorage(f"sqlite:///{copy}")
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _on_server(url: str, address: URL) -> Iterator[RDBStorage | None]:
    """A server's. Its tables are looked for and not made, and PostgreSQL refuses whatever would write."""
    options: dict[str, Any] = {"pool_pre_ping": True}
    if address.get_backend_name() == "postgresql":
        options["execution_options"] = {"postgresql_readonly": True}
    engine = sqlalchemy.create_engine(url, **options)
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    if not {"studies", "version_info", "alembic_version"} <= set(tables):
        yield None
        return
    storage = RDBStorage(url, engine_kwargs=options, skip_table_creation=True)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def copy_database(file: Path, copy: Path) -> None:
    """Copy a SQLite database as its last transaction left it. Nothing changes in the folder that it stands in.

    While somebody is connected, `-shm` and `-wal` are there, and SQLite reads through them without changing them. It
    would make the one that is missing. So otherwise the files are copied as they are, and again if one of them changed
    meanwhile.

    Raises:
        sqlite3.Error: not a database, or it changes too fast.
        OSError: it cannot be read.
    """
    for _ in range(ATTEMPTS):
        if all(Path(f"{file}{end}").exists() for end in ("-shm", "-wal")) and _copied_by_sqlite(file, copy):
            return
        before = _versions(file)
        for end in ("", *BESIDE):
            Path(f"{copy}{end}").unlink(missing_ok=True)
            if before[end] is not None:
                _copy(Path(f"{file}{end}"), Path(f"{copy}{end}"))
        if _versions(file) == before:
            return
        time.sleep(PAUSE_SECONDS)
    raise sqlite3.OperationalError("it changes faster than it can be read; try again")


def _copied_by_sqlite(file: Path, copy: Path) -> bool:
    address = f"{file.resolve().as_uri()}?mode=ro&readonly_shm=1"
    try:
        with (
            closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.OperationalError:  # what was beside the file has gone, or is not for us: copied as it is
        return False
    return True


def _versions(file: Path) -> dict[str, tuple[int, int, int] | None]:
    """What changes when a file does, of the database and of what stands beside it; None for what is not there."""
    return {end: _version(Path(f"{file}{end}")) for end in ("", *BESIDE, "-shm")}


def _version(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _copy(file: Path, copy: Path) -> None:
    try:
        shutil.copyfile(file, copy)
    except FileNotFoundError:  # gone at this moment, which the versions tell
        return


def _check_passive(copy: Path, url: str) -> None:
    """Refuse a database that computes: views and triggers run whatever their author wrote, for as long as it takes."""
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA trusted_schema=OFF")
        found = connection.execute("select name from sqlite_master where type in ('view', 'trigger')").fetchone()
    if found is not None:
        raise StudyError(f"storage {without_password(url)}: no study of ours, it has the view or trigger {found[0]!r}")
