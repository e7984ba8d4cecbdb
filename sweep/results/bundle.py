"""A whole run as one archive, for another machine: `.tar.zst` or `.tar.gz`.

It holds the run's folder. `bundle.json` comes first and names every other file with its size and hash. Below `bundled/`
are the data and the demo items, if they were asked for. The same run gives the same bytes: names are sorted, and times,
owners and modes are fixed. What drivers say of themselves, locks, and what Ray writes stay here.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Annotated, Literal, cast

import pyarrow as pa
from pydantic import Field, ValidationError, field_validator

from selector.data.native import write_native
from selector.settings import FrozenModel
from sweep.errors import RunError
from sweep.plan.items import demo_items_folder
from sweep.plan.plan import Plan
from sweep.results.seal import BUNDLED, SCRATCH, collected_folder
from sweep.results.unaltered import refuse_changed
from sweep.results.verify import verify
from sweep.runs.driver import driver_state
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.storage.local import stored_at
from sweep.storage.path import StoredPath
from sweep.study.reading import copy_database

FORMAT: Literal["sweep-bundle/1"] = "sweep-bundle/1"
CONTENTS = "bundle.json"
ENDINGS = (".tar.zst", ".tar.gz")
STUDY = "study.db*"
OF_A_MACHINE = ("ray.log", *SCRATCH)
"""Files of a run that no bundle holds: they mean something on one machine only."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""A run's name."""
PIECE = 1024**2


class Entry(FrozenModel):
    """A file of a bundle. Its name is relative to the run's folder."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        parts = name.split("/")
        machine = name.startswith("study.db-") or any(fnmatchcase(name, pattern) for pattern in OF_A_MACHINE)
        if machine or any(part in ("", ".", "..") for part in parts) or not name.isprintable() or "\\" in name:
            raise ValueError(f"{name!r} is no file that a bundle holds")
        return name


class Contents(FrozenModel):
    """`bundle.json`."""

    format: Literal["sweep-bundle/1"]
    run: Annotated[str, Field(pattern=NAME)]
    files: tuple[Entry, ...]


@dataclass(frozen=True)
class Bundled:
    """What was written: the archive, how many files it holds, and their bytes before packing."""

    file: Path
    files: int
    bytes: int
    with_data: bool


def check_ending(file: Path) -> None:
    """Refuse an archive of another kind. Raises RunError."""
    if not file.name.endswith(ENDINGS):
        raise RunError(f"{file}: a bundle's name ends in {' or '.join(ENDINGS)}")


def write_bundle(paths: RunPaths, file: Path, plan: Plan | None = None) -> Bundled:
    """Pack a run.

    Args:
        paths: of the run. No driver may hold it.
        file: a new file.
        plan: of the run, to pack its data and its demo items as well. None: the run alone.

    Raises:
        RunError: the run is driven, was changed, holds a link or keeps its study elsewhere; or `file` is taken.
        StudyError: the study cannot be read.
    """
    check_ending(file)
    if file.exists():
        raise RunError(f"{file} exists: name another --bundle")
    if driver_state(paths).alive:
        raise RunError(f"run {paths.name} is running: wait for its end, or `python -m sweep stop {paths.shown}`")
    record = read_record(paths)
    if record.storage is not None:
        raise RunError(f"run {paths.name} keeps its study in a database of its own: a bundle cannot hold it")
    refuse_changed(paths, verify(paths, None).faults)
    with TemporaryDirectory(prefix="sweep-bundle-") as scratch:
        found = {
            **_run_files(paths, Path(scratch)),
            **({} if plan is None else _data_files(paths, plan, Path(scratch))),
        }
        contents = _contents(paths, found)
        text = contents.model_dump_json(indent=1).encode()
        with stored_at(file).replacing() as temporary, _packed(temporary, file.name) as archive:
            _add(archive, f"{paths.name}/{CONTENTS}", [text], len(text))
            for entry in contents.files:
                _add_file(archive, f"{paths.name}/{entry.name}", entry, found[entry.name])
            archive.write(bytes(2 * tarfile.BLOCKSIZE))
    return Bundled(file, len(contents.files), sum(entry.bytes for entry in contents.files), plan is not None)


def _contents(paths: RunPaths, found: Mapping[str, StoredPath]) -> Contents:
    try:
        entries = [Entry(name=name, bytes=_bytes(one), sha256=one.sha256()) for name, one in sorted(found.items())]
        return Contents(format=FORMAT, run=paths.name, files=tuple(entries))
    except ValidationError as error:
        raise RunError(f"{paths.shown}: {error.errors()[0]['msg']}; rename the run's folder, or that file") from None


def _run_files(paths: RunPaths, scratch: Path) -> dict[str, StoredPath]:
    """Files of the run by their name in the archive."""
    others = (*OF_A_MACHINE, *BUNDLED, STUDY)  # the study is copied in one piece, whoever has it open
    names = [name for name in paths.root.walk() if not any(fnmatchcase(name, pattern) for pattern in others)]
    for name in names:
        if not paths.root.is_remote and (paths.root / name).local().is_symlink():
            raise RunError(f"{paths.root / name} is a link: put the file itself there")
    found = {name: paths.root / name for name in names}
    if paths.study_file.exists():
        copy_database(paths.study_file.local(), scratch / "study.db")
        found[paths.study_file.name] = stored_at(scratch / "study.db")
    return found


def _data_files(paths: RunPaths, plan: Plan, scratch: Path) -> dict[str, StoredPath]:
    """Files of the data in native form, and of the demo items."""
    folders: dict[str, StoredPath] = {}
    collected = collected_folder(paths, read_record(paths))
    if collected is not None:
        folders[f"data/{collected.name}"] = collected
    elif plan.data.path is not None:
        write_native(plan.dataset, scratch / "data", plan.data.path.name)
        folders[f"data/{plan.summary.fingerprint[:16]}"] = stored_at(scratch / "data")
    if plan.space.items is not None and plan.space.items.demo is not None:
        items = demo_items_folder(plan.space.items.demo, plan.request.shared)
        folders[f"items/{items.name}"] = stored_at(items)
    return {
        f"{paths.bundled_folder.name}/{name}/{one}": folder / one
        for name, folder in folders.items()
        for one in folder.walk()
    }


# The archive ----------------------------------------------------------------------------------------------------------


def _bytes(file: StoredPath) -> int:
    return file.local().stat().st_size


def _add_file(archive: IO[bytes], name: str, entry: Entry, file: StoredPath) -> None:
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        with file.local().open("rb") as source:
            while piece := source.read(PIECE):
                digest.update(piece)
                yield piece

    _add(archive, name, pieces(), entry.bytes)
    file.forget()
    if digest.hexdigest() != entry.sha256:
        raise RunError(f"{file}: changed while it was packed; is somebody working on the run?")


def _add(archive: IO[bytes], name: str, pieces: Iterable[bytes], size: int) -> None:
    """One file, exactly of this size: header, content, and zeros up to the next block."""
    header = tarfile.TarInfo(name)  # mode 0644, no owner, time 0
    header.size = size
    try:
        archive.write(header.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict"))
    except ValueError as error:
        raise RunError(f"{name}: cannot be packed ({error})") from None
    written = 0
    for piece in pieces:
        archive.write(piece)
        written += len(piece)
    if written != size:
        raise RunError(f"{name}: changed while it was packed; is somebody working on the run?")
    archive.write(bytes(-size % tarfile.BLOCKSIZE))


@contextmanager
def _packed(file: Path, name: str) -> Iterator[IO[bytes]]:
    """A stream into the archive, packed as its name says."""
    if name.endswith(".gz"):
        with file.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as stream:
            yield cast(IO[bytes], stream)
    else:
        with pa.CompressedOutputStream(pa.OSFile(str(file), "wb"), "zstd") as stream:
            yield stream
