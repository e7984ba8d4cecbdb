"""The one entrance for items with images: settings in, a checked `ItemTable` out."""

from __future__ import annotations

from sweep.items.native import ITEMS_FILE, read_items
from sweep.items.official import read_official
from sweep.items.table import ItemTable
from sweep.settings.items import ItemsSettings


def open_items(settings: ItemsSettings) -> ItemTable:
    """Read and check the items that the settings name. Images are looked for, but not read.

    Raises:
        DataError: files that are missing, damaged, do not belong together, or hold something else. A missing image is
            none of these. `ItemTable.images_missing` counts it, and reading its bytes raises `ImageError`.
    """
    if settings.path is None:
        return read_official(settings.questions, settings.annotations, settings.images, settings.answers)
    return read_items(settings.path / ITEMS_FILE if settings.path.is_dir() else settings.path)
