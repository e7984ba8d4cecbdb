"""Files of this machine, written so that nobody ever reads a part of one."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Self
from uuid import uuid4

from filelock import FileLock

from sweep.storage.growing import GrowingFile
from sweep.storage.hashes import file_hash
from sweep.storage.path import StoredPath, not_a_pointer


@dataclass(frozen=True, repr=False)
class LocalPath(StoredPath):
    """A file or folder of this machine."""

    is_remote = False

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def place(self) -> str:
        """The absolute path."""
        return str(self.local().resolve())

    def lacks_bucket(self) -> bool:
        """There are none."""
        return False

    def exists(self) -> bool:
        """Whether there is a file or folder."""
        return self.local().exists()

    def read_bytes(self) -> bytes:
        """What a file holds."""
        return not_a_pointer(self.local().read_bytes(), self.shown)

    def glob(self, pattern: str) -> list[Self]:
        """Sorted as paths are."""
        return [replace(self, path=PurePosixPath(path)) for path in sorted(self.local().glob(pattern))]

    def walk(self) -> list[str]:
        """Links count as the file that they name; folders that are links are not entered."""
        root = self.local()
        return sorted(
            Path(folder, name).relative_to(root).as_posix() for folder, _, names in os.walk(root) for name in names
        )

    def sha256(self) -> str:
        """Read piece by piece."""
        return file_hash(self.local())

    def newest(self, pattern: str) -> Self | None:
        """As the file system has it."""
        return max(self.glob(pattern), key=lambda file: file.modified or 0.0, default=None)

    @property
    def modified(self) -> float | None:
        """As the file system has it."""
        return self.local().stat().st_mtime if self.local().is_file() else None

    def size(self) -> int:
        """Bytes that are occupied, links not followed. What vanishes meanwhile counts nothing."""
        if self.local().is_file():
            return _occupied(self.local())
        total, folders = 0, [self.local()]
        while folders:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(Path(entry.path))
                        total += _occupied(entry)
            except (FileNotFoundError, NotADirectoryError):
                continue
        return total

    def local(self) -> Path:
        """The path itself."""
        return Path(self.path)

    def forget(self) -> None:
        """There are no copies."""

    def make_folder(self) -> None:
        """One that is there stays."""
        self.local().mkdir(parents=True, exist_ok=True)

    @contextmanager
    def replacing(self, *, private: bool = False) -> Iterator[Path]:
        """The temporary file stands beside the file, its name begins with a dot."""
        file = self.local()
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = hidden(file)
        # Not mkstemp, whose files are their owner's alone: what is exported is for everybody whom umask lets in.
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        except OSError as error:
            _name(error, str(temporary), file)
            raise
        try:
            yield temporary
            os.fsync(descriptor)  # of the file, not of what wrote to it
            temporary.replace(file)
            _sync(file.parent)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            _name(error, str(temporary), file)
            raise
        finally:
            os.close(descriptor)

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """The temporary folder stands beside the folder, its name begins with a dot."""
        target = self.local()
        temporary = hidden(target)
        try:
            temporary.mkdir(parents=True)  # not mkdtemp: what is here in the end is for everybody whom umask lets in
            yield temporary
            for file in temporary.iterdir():
                _sync(file)
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

    def is_taken(self, last: str) -> bool:
        """Whatever has the name."""
        return self.local().exists()

    def claim(self, files: Mapping[str, str]) -> bool:
        """By renaming, which of several processes only one can do."""
        target = self.local()
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = hidden(target)
        temporary.mkdir()
        try:
            for name, text in files.items():
                stored_at(temporary / name).write_text(text, private=True)
            temporary.rename(target)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):  # somebody else was faster
                return False
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return True

    def remove(self) -> None:
        """A folder is renamed first."""
        path = self.local()
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        doomed = hidden(path)
        try:
            path.rename(doomed)
        except OSError:
            return
        shutil.rmtree(doomed, ignore_errors=True)

    def lock(self) -> FileLock:
        """The operating system's, which frees it when its process dies."""
        self.local().parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.local())

    def growing(self) -> GrowingFile:
        """The file itself. Nothing is uploaded."""
        self.local().parent.mkdir(parents=True, exist_ok=True)
        return GrowingFile(self.local())


def stored_at(path: Path) -> LocalPath:
    """The handle of a file or folder of this machine."""
    return LocalPath(PurePosixPath(path))


def is_locked(file: Path) -> bool | None:
    """Whether a process holds the lock that a file is. None if that cannot be found out. Nothing is written.

    For the moment of the question nobody else can take the lock, so who takes it waits a little (`LOOK_SECONDS`).
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES) else None
    finally:
        os.close(descriptor)
    return False


LOOK_SECONDS = 1.0


def hidden(path: Path) -> Path:
    """A name beside this one that nobody has and no reader takes for ours."""
    return path.with_name(f".{path.name}.{uuid4().hex}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _occupied(entry: os.DirEntry[str] | Path) -> int:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return max(status.st_size, status.st_blocks * 512)  # blocks may not be counted before they are written out


def _name(error: BaseException, temporary: str, file: Path) -> None:
    """Have an error of the system name the file that was to be written, where it names none or a temporary one."""
    if isinstance(error, OSError) and (error.filename is None or str(error.filename).startswith(temporary)):
        error.filename, error.filename2 = str(file), None
