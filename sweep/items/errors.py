"""What can be wrong with one item's image. Only the work items that need it fail."""

from __future__ import annotations

from selector.errors import DataError


class ImageError(DataError):
    """An image that is missing, cannot be read or is no image.

    Attributes:
        label: where it is: a path, or a file and a row.
        reason: what is wrong with it, without the label.
    """

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(label, reason)  # both arguments, so that it can be pickled
        self.label = label
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.label}: {self.reason}"
