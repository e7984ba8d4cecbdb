"""Opening the database of a study to write. SQLite gets write-ahead logging: readers never block the sweep."""

from __future__ import annotations

import re
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from selector.files import lfs_problem
from sweep.errors import StudyError
from sweep.space.compare import differences, identity
from sweep.space.search_space import SearchSpace
from sweep.study import tables
from sweep.study.kept import KeptStorage
from sweep.study.notes import save_note, study_note

BUSY_SECONDS = 30.0
PAUSES = (0.1, 0.3, 0.9)
SPACE = "sweep:space"
STARTED = "sweep:started"


def without_password(url: str) -> str:
    """The URL as people may see it."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "the storage URL"


def open_storage(url: str) -> RDBStorage:
    """Connect, creating the tables (and the SQLite file, not its folder) where they are missing.

    Raises:
        StudyError: not a URL, no driver for it, or the database cannot be reached or is no database of Optuna's.
    """
    address = parsed(url)
    options: dict[str, Any] = {"pool_pre_ping": True}  # a server that was restarted between two questions is no error
    if address.get_backend_name() == "sqlite":
        _prepare_sqlite(address)
        options = {"connect_args": {"timeout": BUSY_SECONDS}}
    with refused(url):
        return _with_tables(url, options)


@contextmanager
def refused(url: str) -> Iterator[None]:
    """What a database answers instead of working becomes one line without its password."""
    try:
        yield
    except ImportError:
        raise StudyError(f"storage {without_password(url)}: {_no_driver(parsed(url))}") from None
    except OSError as error:
        raise StudyError(f"storage {without_password(url)} cannot be read: {error.strerror or error}") from None
    except (sqlite3.Error, SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, ValueError) as error:
        reason = _first_line(error, parsed(url))
        raise StudyError(f"storage {without_password(url)} cannot be used: {reason}") from None


def parsed(url: str) -> URL:
    """The parts of a URL. Raises StudyError if it is none."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise StudyError(f"storage {_masked(url)!r} is not a URL; use one such as sqlite:///folder/study.db") from None


def _with_tables(url: str, options: dict[str, Any]) -> RDBStorage:
    """Of runs that begin at the same moment in an empty database, each tries to make the tables, and one succeeds."""
    for pause in PAUSES:
        try:
            return RDBStorage(url, engine_kwargs=options)
        except (IntegrityError, ProgrammingError):
            time.sleep(pause)
    return RDBStorage(url, engine_kwargs=options)


def _prepare_sqlite(url: URL) -> None:
    """Switch the file to write-ahead logging; that setting stays with the file."""
    if not url.database or url.database == ":memory:":
        raise StudyError("storage sqlite:// without a file would lose the study with the process; name a file")
    path = Path(url.database)
    if not path.parent.is_dir():
        raise StudyError(f"storage {without_password(str(url))}: folder {str(path.parent)!r} does not exist; create it")
    if problem := lfs_problem(path):
        raise StudyError(f"{path}: {problem}")
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    except (sqlite3.Error, ValueError) as error:  # ValueError: a zero byte in the path
        raise StudyError(
            f"storage {without_password(str(url))} cannot be used: {error}; is it a SQLite file you may write?"
        ) from None


def _no_driver(url: URL) -> str:
    if url.get_backend_name() == "postgresql":
        extra = "`pip install 'demonstration-sweep[postgres]'`"
        if url.drivername == "postgresql+psycopg":
            return f"the driver psycopg is not installed; {extra} brings it"
        return f"no driver for {url.drivername!r} is installed; write postgresql+psycopg://, which {extra} brings"
    return f"no driver for {url.drivername!r} is installed; install it, or use sqlite:///"


def _first_line(error: Exception, url: URL) -> str:
    lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    return lines[0].replace(str(url.password), "***") if url.password else lines[0]


def _masked(text: str) -> str:
    """What was meant as a URL, without what may be its password."""
    return re.sub(r":[^:/]*@|(?<=://):?[^@]*@", ":***@", text) if "@" in text else text


def open_study(url: str, name: str, space: SearchSpace, now: float) -> tuple[optuna.Study, KeptStorage, float]:
    """The study of a run, created or found again, its storage, and when it was first started (seconds since the epoch).

    Raises:
        StudyError: see `open_storage`; or the study was made by other means, or with another search space.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = open_storage(url)
    try:
        study = optuna.create_study(storage=opened, study_name=name, direction="minimize", load_if_exists=True)
        storage = KeptStorage(opened, opened.get_study_id_from_name(name))
        study = optuna.load_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
        _claim(study, space, without_password(url), now)
        _name_for_people(study, storage, space)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StudyError(
            f"storage {without_password(url)} cannot be used: {_first_line(error, make_url(url))}"
        ) from None
    return study, storage, float(study.user_attrs[STARTED])


def _claim(study: optuna.Study, space: SearchSpace, where: str, now: float) -> None:
    """Mark a new study as this space's; refuse one that is another's."""
    attributes = study.user_attrs
    title = f"study {study.study_name!r} in {where}"
    if study.directions != [StudyDirection.MINIMIZE]:
        raise StudyError(f"{title} is not minimised and so not a sweep's; use another name or storage")
    ours = identity(space)
    if SPACE not in attributes:
        if study.get_trials(deepcopy=False):
            raise StudyError(f"{title} has trials that no sweep made; use another name or storage")
        study.set_user_attr(SPACE, ours)
    elif changes := differences(attributes[SPACE], ours):
        more = f" (and {len(changes) - 3} more)" if len(changes) > 3 else ""
        listed = "; ".join(changes[:3]) + more
        raise StudyError(f"{title} belongs to another search space: {listed}; use that space, or start a new run")
    if STARTED not in attributes:
        study.set_user_attr(STARTED, now)


def _name_for_people(study: optuna.Study, storage: KeptStorage, space: SearchSpace) -> None:
    """What Optuna's own views show: the metric's name, and a note."""
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "experimental"; the name is for people alone
            study.set_metric_names(["val_loss"])
    save_note(storage, None, study_note(space))


def has_study(url: str, name: str) -> bool:
    """Whether a database holds a study of this name. Raises StudyError as `open_storage` does."""
    storage = open_storage(url)
    try:
        storage.get_study_id_from_name(name)
    except KeyError:
        return False
    finally:
        storage.remove_session()
    return True


def count_trials(url: str, name: str) -> int:
    """Trials of a study. 0 where there is no such file or study. Raises StudyError as `open_storage` does."""
    file = Path(parsed(url).database or "") if url.startswith("sqlite:") else None
    if file is not None and not (file.is_file() and file.stat().st_size):
        return 0
    storage = open_storage(url)
    try:
        with refused(url), storage.engine.connect() as connection:  # Optuna's own would read all trials
            return tables.count_trials(connection, storage.get_study_id_from_name(name))
    except KeyError:
        return 0
    finally:
        storage.remove_session()
        storage.engine.dispose()  # the file may be about to be replaced
