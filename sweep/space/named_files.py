"""The files that a space names: whether they are there, said with the line that names them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from sweep.space.document import Path as Place
from sweep.space.document import Problem, read_document
from sweep.space.overrides import with_overrides
from sweep.space.search_space import SearchSpace


def check_named_files(
    space: SearchSpace, text: str, source: str, skipped: Collection[str] = (), overrides: Iterable[str] = ()
) -> None:
    """Refuse a space that names a file or folder that does not exist. What is in them is checked where it is read.

    Args:
        space: parsed from `text`.
        text: the file.
        source: its name in error messages.
        skipped: sections whose files are replaced by others.
        overrides: as `space` was parsed with.

    Raises:
        SpaceError: with the line, and where a relative path begins.
    """
    problems = [
        Problem(path, _missing(file))
        for path, file in named_files(space)
        if path[0] not in skipped and not _may_exist(file)
    ]
    if problems:
        raise with_overrides(read_document(text, source), overrides).error(problems)


def named_files(model: BaseModel, path: Place = ()) -> Iterator[tuple[Place, Path]]:
    """All files and folders that a space names, each with its place in the space."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from named_files(value, (*path, name))
        elif isinstance(value, Path):
            yield (*path, name), value
        elif isinstance(value, tuple):
            for place, item in enumerate(value):
                if isinstance(item, Path):
                    yield (*path, name, place), item
                elif isinstance(item, BaseModel):
                    yield from named_files(item, (*path, name, place))


def _may_exist(file: Path) -> bool:
    """False only where it is sure that there is nothing: what cannot be looked at has its own error."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


def _missing(file: Path) -> str:
    if str(file).startswith("~"):
        return f"{str(file)!r} does not exist: `~` stands for nothing here; write {str(file.expanduser())!r}"
    if file.is_absolute():
        return f"{str(file)!r} does not exist"
    return f"{str(file)!r} does not exist; a relative path begins at the current folder, {str(Path.cwd())!r}"
