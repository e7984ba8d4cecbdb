"""TODO-DOC"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from sweep.storage import mirror


def write_json(file: Path, value: Any, *, private: bool = False) -> None:  # noqa: ANN401 (any JSON value)
    """Write atomically: a reader sees the old file or the new one, never a part. `private`: for the owner alone."""
    with atomic_file(file, private=private) as temporary, temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=2)
        stream.write("\n")


@contextmanager
def atomic_file(file: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary file beside `file` that replaces it when the block ends without an error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{uuid4().hex}")
    # Not mkstemp, whose files are their owner's alone: what is exported is for everybody whom umask lets in.
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    try:
        yield temporary
        os.fsync(descriptor)  # of the file, not of what wrote to it
        temporary.replace(file)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        _name(error, str(temporary), file)
        raise
    finally:
        os.close(descriptor)
    mirror.push(file)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that becomes it when the block ends without an error.

    A folder that already stands at `target` is kept and the new one dropped: our folders are named by their content (a
    hash, or a step that determinism makes the same), so an orphan worker and its successor cannot disturb each other.
    """
    temporary = target.parent / f".{target.name}.{uuid4().hex}"
    temporary.mkdir(parents=True)  # not mkdtemp: what stands here in the end is for everybody whom umask lets in
    try:
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    except OSError as error:
        _name(error, str(temporary), target)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    mirror.push_folder(target)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that nobody ever sees a part of it under its name. One that is not there is no error."""
    mirror.delete(folder)
    doomed = folder.parent / f".{folder.name}.{uuid4().hex}"
    try:
        folder.rename(doomed)
    except OSError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _name(error: BaseException, temporary: str, file: Path) -> None:
    """Have an error of the system name the file that was to be written, where it names none or a temporary one."""
    if isinstance(error, OSError) and (error.filename is None or str(error.filename).startswith(temporary)):
        error.filename, error.filename2 = str(file), None
