"""Finding image files by the image id at the end of their name, in one pass over the folders."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from selector.data.json_text import SAFE_DIGITS
from selector.data.place import Place, file_label
from selector.errors import DataError
from selector.files import is_leftover

SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
_NAME = re.compile(rf"(?:.*[^0-9])?([0-9]{{1,{SAFE_DIGITS}}})\.(?:{'|'.join(SUFFIXES)})", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Found:
    """An image file: its name, the names of its folders from the searched one down, and its absolute path."""

    name: str
    folders: tuple[str, ...]
    path: str

    def carries(self, part: str) -> bool:
        """Whether its name or one of its folders holds the text."""
        return part in self.name or any(part in folder for folder in self.folders)


def find_images(folders: Collection[Path], wanted: Collection[int]) -> dict[int, list[Found]]:
    """Files of the wanted image ids. Links are followed, and no folder is searched twice. Hidden names do not count.

    `COCO_train2014_000000000042.jpg`, `000000000042.png` and `42.JPG` are image 42.

    Raises:
        DataError: a folder that is missing or cannot be listed. Folders inside that cannot be listed are left out.
    """
    found: dict[int, list[Found]] = {}
    wanted = frozenset(wanted)
    for name, parents, path in _files(folders):
        match = _NAME.fullmatch(name)
        if match is not None and (image := int(match[1])) in wanted:
            found.setdefault(image, []).append(Found(name, parents, path))
    return found


def choose(image: int, candidates: list[Found], subtype: str | None) -> Found:
    """The file of an image: the only one, or the only one that carries the questions' `data_subtype`.

    Raises:
        DataError: several remain. Names two of them.
    """
    fitting = candidates
    for fitting in _narrowed(candidates, subtype):
        if len(fitting) == 1:
            return fitting[0]
    paths = sorted(file_label(Path(one.path)) for one in fitting)
    raise DataError(
        f"images: the name of {paths[0]} and that of {paths[1]} both end in image id {image}; "
        "name only the folder with the right one"
    )


def _narrowed(candidates: list[Found], subtype: str | None) -> Iterator[list[Found]]:
    yield candidates
    if subtype:
        carrying = [one for one in candidates if one.carries(subtype)]
        yield carrying or candidates
        yield [one for one in carrying if subtype in one.name] or carrying or candidates


def _files(searched: Collection[Path]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Name, folders and path of everything below that is no folder, without what other systems left there."""
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[str, tuple[str, ...], Path]] = [
        (str(folder.absolute()), (folder.absolute().name,), folder) for folder in searched
    ]
    while waiting:
        path, folders, given = waiting.pop()
        try:
            status = Path(path).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                for entry in entries:
                    if is_leftover(entry.name):
                        continue
                    if entry.is_dir():
                        waiting.append((entry.path, (*folders, entry.name), given))
                    else:
                        yield entry.name, folders, entry.path
        except (OSError, ValueError) as error:
            if len(folders) == 1:
                raise Place(file_label(given)).error(_unlisted(error), "images") from None


def _unlisted(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such folder"
    if isinstance(error, NotADirectoryError):
        return "is no folder; expected one that holds the images"
    return f"cannot be listed ({getattr(error, 'strerror', None) or type(error).__name__})"
