"""What the engine needs of an item table. `sweep.items.table.ItemTable` is one."""

from __future__ import annotations

from typing import Protocol


class VlmTable(Protocol):
    """Questions, answers and images by item id. Methods may be called from several threads."""

    def question(self, item: int) -> str:
        """The question's text."""

    def answers(self, item: int) -> tuple[str, ...]:
        """The annotators' answers; may be empty."""

    def shown_answer(self, item: int) -> str:
        """The answer that a demonstration shows; `DataError` if there is none."""

    def image_label(self, item: int) -> str:
        """Where the image is, for messages."""

    def image_bytes(self, item: int) -> bytes:
        """The encoded image; `ImageError` if it cannot be had."""

    def image_hash(self, item: int) -> str:
        """SHA-256 of `image_bytes`, 64 hex digits; raises likewise."""
