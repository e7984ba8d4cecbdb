"""The one entrance for items with images: settings in, a checked `ItemTable` out."""

from __future__ import annotations

from selector.errors import DataError
from sweep.items.images import IMAGE_COLUMN
from sweep.items.native import ITEMS_FILE, read_items
from sweep.items.official import read_official
from sweep.items.table import ItemTable
from sweep.settings.items import ItemsSettings
from sweep.storage.open import open_run_folder
from sweep.storage.outage import describe_os_error


def open_items(settings: ItemsSettings) -> ItemTable:
    """Read and check the items that the settings name. Images are looked for, but not read.

    Raises:
        RunError: storage elsewhere cannot be reached.
        DataError: files that are missing, damaged, do not belong together, or hold something else. A missing image is
            none of these. `ItemTable.images_missing` counts it, and reading its bytes raises `ImageError`.
    """
    if settings.path is None:
        return read_official(settings.questions, settings.annotations, settings.images, settings.answers)
    if isinstance(settings.path, str):
        return _open_elsewhere(settings.path)
    return read_items(settings.path if settings.folder is None else settings.folder / ITEMS_FILE)


def _open_elsewhere(uri: str) -> ItemTable:
    """Items that are kept elsewhere, of which this process fetches a copy. Their images must be in the file."""
    named = open_run_folder(uri)
    file = named if named.name.endswith(".parquet") else named / ITEMS_FILE
    try:
        copy = file.local()
    except OSError as error:
        raise DataError(describe_os_error(error)) from None
    if not copy.is_file():
        raise DataError(f"{file}: no such file; expected items in native form (a folder with {ITEMS_FILE}, or a file)")
    table = read_items(copy)
    if table.images_missing() == len(table):
        raise DataError(f"{file}: holds no images; items that are kept elsewhere need the column {IMAGE_COLUMN}")
    return table
