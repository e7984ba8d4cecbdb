"""What a space names, sorted: what travels with it, what must be on the cluster, and what each node fetches."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from sweep.errors import SpaceError
from sweep.settings.embed import VISION_TOWER
from sweep.settings.vlm import DEMO_MODEL
from sweep.space import SearchSpace
from sweep.space.named_files import named_files
from sweep.submission.package import PACKAGES
from sweep.vlm.checkpoint import is_folder_name


@dataclass(frozen=True)
class Named:
    """One thing that the space or an option names. `by`: the setting or option; `name`: what it says."""

    by: str
    name: str


@dataclass(frozen=True)
class Contents:
    """What is named, by where it must come from.

    Attributes:
        travelling: relative paths. They exist here, below the current folder.
        there: absolute paths. They must be on the cluster.
        fetched: names of the Hugging Face hub.
    """

    travelling: tuple[Named, ...] = ()
    there: tuple[Named, ...] = ()
    fetched: tuple[Named, ...] = ()


def contents_of(space: SearchSpace, options: Collection[Named], replaced: Collection[str] = ()) -> Contents:
    """Sort what is named.

    Args:
        space: the space.
        options: paths of the command line.
        replaced: sections of the space whose files do not count, because options name others.

    Raises:
        SpaceError: a relative path that does not exist here, or leads out of the current folder.
    """
    named = [
        *options,
        *(
            Named(".".join(str(part) for part in place), str(file))
            for place, file in named_files(space)
            if place[0] not in replaced
        ),
    ]
    fetched: list[Named] = []
    for section, model in _models(space):
        (named if is_folder_name(model) else fetched).append(Named(section, model))
    there = [one for one in named if one.name.startswith(("/", "~"))]
    travelling = [one for one in named if one not in there]
    for one in travelling:
        _check(one)
    return Contents(tuple(travelling), tuple(there), tuple(fetched))


def _models(space: SearchSpace) -> Iterator[tuple[str, str]]:
    if space.vlm is not None and space.vlm.model.path != DEMO_MODEL:
        yield "vlm.model", space.vlm.model.path
    if space.embed is not None and space.embed.model.path != VISION_TOWER:
        yield "embed.model", space.embed.model.path


def _check(one: Named) -> None:
    path = Path(one.name)
    if ".." in path.parts or path.parts[:1] in ((), *((name,) for name in PACKAGES)):
        raise SpaceError(
            f"{one.by}: {one.name!r} cannot travel: a relative path must lead to something below the current folder. "
            "Name by an absolute path what is on the cluster already"
        )
    if not path.exists():
        raise SpaceError(
            f"{one.by}: {one.name!r} does not exist here. A relative path begins at the current folder, "
            f"{str(Path.cwd())!r}, and travels; an absolute one is for what is on the cluster already"
        )
