"""Questions with their images and answers: what is asked, and what stands in a demonstration.

`open_items` is the one door. Image files are read as bytes and never decoded here.
"""

from sweep.items.errors import ImageError
from sweep.items.native import NewItem, write_items
from sweep.items.open import open_items
from sweep.items.table import ItemCounts, ItemTable, describe
from sweep.settings.items import AnswerForm, ItemsSettings

__all__ = [
    "AnswerForm",
    "ImageError",
    "ItemCounts",
    "ItemTable",
    "ItemsSettings",
    "NewItem",
    "describe",
    "open_items",
    "write_items",
]
