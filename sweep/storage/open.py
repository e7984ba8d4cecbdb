"""Opening the place where runs are kept, by path or URI. Done once, where an address comes in."""

from __future__ import annotations

from pathlib import Path

from sweep.storage.local import stored_at
from sweep.storage.location import Location, path_of
from sweep.storage.path import StoredPath
from sweep.storage.remote import RemotePath


def open_folder(place: str | Path) -> StoredPath:
    """A folder of this machine or elsewhere.

    Raises:
        RunError: not a usable URI, the storage cannot be reached, or there is no room for working copies.
    """
    path = path_of(str(place))
    return stored_at(path) if path is not None else RemotePath.open(Location.of(str(place)))


def open_run_folder(place: str | Path) -> StoredPath:
    """A run's folder. The folder of runs that it stands in is opened with it. Raises RunError as `open_folder`."""
    path = path_of(str(place))
    if path is not None:
        return stored_at(path)
    location = Location.of(str(place))
    return open_folder(location.parent.uri) / location.name
