"""Questions with their images and answers: what is asked, and what stands in a demonstration.

`open_items` is the one door. Image files are read as bytes and never decoded here.
"""

from sweep.items.errors import ImageError
from sweep.items.open import open_items
from sweep.items.table import ItemTable
from sweep.settings.items import AnswerForm, ItemsSettings

__all__ = [
    "AnswerForm",
    "ImageError",
    "ItemTable",
    "ItemsSettings",
    "open_items",
]
