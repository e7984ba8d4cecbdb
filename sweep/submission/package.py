"""The archive that travels to the cluster: code, space, and files that the space names."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata, util
from pathlib import Path

from sweep.errors import RunError
from sweep.terminal.sizes import size_text

DISTRIBUTION = "demonstration-sweep"
PACKAGES = ("sweep", "selector", "search_spaces")
MOST_BYTES = 2 * 10**9
MOST_PACKED = 100 * 2**20
"""Ray's dashboard takes no larger request (2.60)."""
_DATE = (1980, 1, 1, 0, 0, 0)
_NOT_SENT = {".git", ".venv", "__pycache__"}

Files = Mapping[str, Path | str]
"""By name in the archive: a file of this machine, or a text."""


def installed_code() -> dict[str, Path | str]:
    """The code of this program as it runs here, wherever it is installed, and what says its version."""
    files: dict[str, Path | str] = {**_identity()}
    for package in PACKAGES:
        spec = util.find_spec(package)
        folder = Path(next(iter((spec and spec.submodule_search_locations) or ())))
        files |= {f"{package}/{name}": file for name, file in _walked(folder)}
    return files


def working_tree(folder: Path) -> dict[str, Path | str]:
    """A source tree of this program, without what git ignores.

    Raises:
        RunError: it is none.
    """
    if missing := [name for name in PACKAGES if not (folder / name / "__init__.py").is_file()]:
        raise RunError(
            f"--working-dir {folder}: has no {missing[0]}/__init__.py; it stands for a source tree of this program. "
            "Files that the space names by relative paths travel by themselves"
        )
    listed = _git_files(folder)
    found = dict(_walked(folder)) if listed is None else {name: folder / name for name in listed}
    return {**_identity(), **{name: file for name, file in found.items() if file.is_file()}}


def _identity() -> dict[str, str]:
    """Runs record the version of this program, and it is looked up where packages are installed."""
    found = metadata.distribution(DISTRIBUTION)
    text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""  # PKG-INFO: beside sources that are linked
    version = metadata.version(DISTRIBUTION)
    return {f"{DISTRIBUTION.replace('-', '_')}-{version}.dist-info/METADATA": text}


def _git_files(folder: Path) -> list[str] | None:
    """What git knows and what it does not ignore. None: no checkout, or no git."""
    line = ["git", "-C", os.fspath(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(line, capture_output=True, check=True, timeout=60).stdout  # noqa: S603 (no shell)
    except (OSError, subprocess.SubprocessError):
        return None
    return [os.fsdecode(name) for name in found.split(b"\0") if name]


def files_at(path: Path) -> dict[str, Path | str]:
    """A file, or all files of a folder, under the relative name that it has here."""
    if path.is_dir():
        return {f"{path.as_posix()}/{name}": file for name, file in _walked(path)}
    return {path.as_posix(): path}


def _walked(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(set(folders) - _NOT_SENT)
        if links := [name for name in folders if Path(parent, name).is_symlink()]:
            raise RunError(f"{Path(parent, links[0])}: a link to a folder does not travel; put the folder itself there")
        for name in sorted(names):
            file = Path(parent, name)
            if file.suffix != ".pyc" and file.is_file():
                yield file.relative_to(folder).as_posix(), file


def size_of(files: Files) -> int:
    """Bytes before they are packed."""
    return sum(file.stat().st_size if isinstance(file, Path) else len(file) for file in files.values())


def pack(files: Files, archive: Path) -> int:
    """Write the archive. Returns its bytes.

    Raises:
        RunError: more than Ray takes.
    """
    if (size := size_of(files)) > MOST_BYTES:
        raise RunError(f"{size_text(size)} would travel: {_remedy()}")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(files):
            file = files[name]
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            with packed.open(entry, "w") as target:
                if isinstance(file, Path):
                    with file.open("rb") as source:
                        shutil.copyfileobj(source, target)
                else:
                    target.write(file.encode())
    if (size := archive.stat().st_size) > MOST_PACKED:
        raise RunError(f"{size_text(size)} would travel, packed: {_remedy()}")
    return size


def _remedy() -> str:
    return (
        f"Ray takes {size_text(MOST_PACKED)} packed. Put large files where the cluster sees them, and name them by "
        "absolute paths in the space"
    )
