"""Taking a bundle in. An archive may be a stranger's, so nothing of it is believed before it was checked.

Only plain files are taken, and only those that `bundle.json` names at the archive's beginning, in its order, with its
sizes and hashes. There are no links, no devices, no folders, and no names that lead elsewhere. What it would take up is
known before the first file is written. The run appears whole or not at all.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

import pyarrow as pa
from pydantic import ValidationError

from selector.errors import first_line, printable
from sweep.errors import RunError
from sweep.results.bundle import CONTENTS, NAME, PIECE, Contents, Entry, check_ending
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.storage.local import stored_at
from sweep.storage.path import StoredPath
from sweep.terminal.sizes import GB, size_text

LARGEST_CONTENTS = 64 * 1024**2
MOST_TIMES = 200
"""How many times its own size an archive may take up, above one gigabyte. Runs are packed to a half or a tenth."""


@dataclass(frozen=True)
class Imported:
    """What was taken in. `with_data`: whether the run brought its data or items along."""

    run: RunPaths
    files: int
    bytes: int
    with_data: bool


def import_bundle(file: Path, runs: StoredPath, name: str | None = None) -> Imported:
    """Unpack a bundle into a folder of runs.

    Args:
        file: the archive.
        runs: a folder of this machine.
        name: of the run here. None: as it was called there.

    Raises:
        RunError: the file is no bundle, is damaged or hostile, there is no room for it, or the name is taken.
    """
    check_ending(file)
    if runs.is_remote:
        raise RunError(f"{runs}: a bundle is taken in on this machine; name a folder with --runs")
    if name is not None and not re.fullmatch(NAME, name):
        raise RunError(f"--name {name!r} cannot be a run's name: use letters, digits, dots, dashes and underscores")
    try:
        with _unpacked(file) as archive:
            return _import(file, archive, runs, name)
    except (EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile, pa.ArrowException) as error:
        raise RunError(f"{file}: no bundle, or damaged ({first_line(error)})") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise RunError(f"{file}: no bundle, or damaged ({first_line(error)})") from None


def _import(file: Path, archive: IO[bytes], runs: StoredPath, name: str | None) -> Imported:
    contents = _contents(file, archive)
    run = RunPaths(runs / (name or contents.run))
    if run.root.is_taken(run.run_file.name):
        raise RunError(f"run {run.name!r} exists in {runs}: take another --name")
    total = sum(entry.bytes for entry in contents.files)
    runs.make_folder()
    _check_room(file, total, runs.local())
    with run.root.new_folder() as folder:
        for entry in contents.files:
            _take(file, archive, f"{contents.run}/{entry.name}", entry, folder / entry.name)
        read_record(RunPaths(stored_at(folder)))
    return Imported(run, len(contents.files), total, run.bundled_folder.exists())


def _contents(file: Path, archive: IO[bytes]) -> Contents:
    """The table of contents, which is the first file."""
    header = _header(file, archive)
    if PurePosixPath(header.name).name != CONTENTS or header.size > LARGEST_CONTENTS:
        raise RunError(f"{file}: no bundle: it does not begin with {CONTENTS}")
    text = _read(file, archive, header.size)
    _read(file, archive, -header.size % tarfile.BLOCKSIZE)
    try:
        contents = Contents.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{file}: {CONTENTS}: {where}: {printable(first['msg'])}: damaged, or of another version"
        ) from None
    names = [entry.name for entry in contents.files]
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    if len({name.casefold() for name in names}) < len(names) or folders & set(names):
        raise RunError(f"{file}: {CONTENTS} names a file twice: damaged")
    if header.name != f"{contents.run}/{CONTENTS}":
        raise RunError(f"{file}: {CONTENTS} is of another run: damaged")
    return contents


def _take(file: Path, archive: IO[bytes], name: str, entry: Entry, place: Path) -> None:
    """The next file of the archive, if it is the one that must come."""
    header = _header(file, archive)
    if header.name != name or header.size != entry.bytes:
        raise RunError(f"{file}: holds {header.name!r} where {CONTENTS} has {name!r} of {entry.bytes:,} bytes: damaged")
    place.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), entry.bytes
    with place.open("xb") as target:
        while left:
            piece = _read(file, archive, min(left, PIECE))
            digest.update(piece)
            target.write(piece)
            left -= len(piece)
    _read(file, archive, -entry.bytes % tarfile.BLOCKSIZE)
    if digest.hexdigest() != entry.sha256:
        raise RunError(f"{file}: {entry.name}: its SHA-256 is not the one in {CONTENTS}: altered or damaged")


def _header(file: Path, archive: IO[bytes]) -> tarfile.TarInfo:
    header = tarfile.TarInfo.frombuf(_read(file, archive, tarfile.BLOCKSIZE), "utf-8", "strict")
    if header.type != tarfile.REGTYPE:
        raise RunError(f"{file}: {header.name!r} is no plain file; a bundle has neither links nor folders nor devices")
    return header


def _read(file: Path, archive: IO[bytes], size: int) -> bytes:
    """Exactly so many bytes."""
    pieces = []
    while size:
        piece = archive.read(size)
        if not piece:
            raise RunError(f"{file}: ends too early: damaged, or not all of it is here")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _check_room(file: Path, total: int, folder: Path) -> None:
    packed, free = file.stat().st_size, shutil.disk_usage(folder).free
    if total > max(GB, MOST_TIMES * packed):
        raise RunError(
            f"{file}: would take up {size_text(total)}, {total // packed:,} times its own size: no run does so"
        )
    if total > free:
        raise RunError(f"{file}: takes up {size_text(total)}, and {folder} has room for {size_text(free)}")


@contextmanager
def _unpacked(file: Path) -> Iterator[IO[bytes]]:
    if file.name.endswith(".gz"):
        with gzip.open(file) as stream:
            yield cast(IO[bytes], stream)
    else:
        with pa.CompressedInputStream(pa.OSFile(str(file), "rb"), "zstd") as stream:
            yield stream
