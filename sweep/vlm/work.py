"""What is asked and what comes back. Plain frozen records, since they cross processes.

Every work item yields exactly one `Answer` or one `Failure`. Nothing raises past the engine for what is wrong with a
single item.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class WorkItem:
    """One question to answer. Numbers are item ids: rows of the item table.

    Attributes:
        query: the item whose question is asked.
        demonstrations: shown before it, in this order. May be empty.
    """

    query: int
    demonstrations: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said.

    Attributes:
        text: the generated text without special tokens, cut at the first stop string, stripped. May be empty.
        gt_prob: probability, in [0, 1], that the model's whole answer is one of the item's ground-truth answers. It
            is the sum over distinct answers, each with the end of the turn. None where it was not asked for.
        prompt_tokens: length of the prompt, image tokens included.
    """

    text: str
    gt_prob: float | None
    prompt_tokens: int


class FailureKind(StrEnum):
    """Why a work item has no answer."""

    IMAGE = "image"  # not an image, truncated, too large to decode
    MISSING = "missing"  # no such image file where it was looked for, or not readable
    TOO_LONG = "too_long"  # more tokens than the model's context
    MEMORY = "memory"  # does not fit on the device even alone
    CRASH = "crash"  # took its worker down, or raised, more often than the retries allow

    @property
    def lasting(self) -> bool:
        """Whether asking again would fail again, so that the failure may be stored like an answer."""
        return self in (FailureKind.IMAGE, FailureKind.TOO_LONG)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer.

    Attributes:
        kind: for counting.
        reason: one line for people.
        label: the image's path (or table row) where the image is the reason.
    """

    kind: FailureKind
    reason: str
    label: str | None = None


Result = Answer | Failure


class VlmTable(Protocol):
    """Questions, answers and images by item id. Methods may be called from several threads."""

    def question(self, item: int) -> str:
        """The question's text."""

    def answers(self, item: int) -> tuple[str, ...]:
        """The annotators' answers. May be empty."""

    def shown_answer(self, item: int) -> str:
        """The answer that a demonstration shows. Raises `DataError` if there is none."""

    def image_label(self, item: int) -> str:
        """Where the image is, for messages."""

    def image_bytes(self, item: int) -> bytes:
        """The encoded image. Raises `ImageError` if it cannot be had."""

    def image_hash(self, item: int) -> str:
        """SHA-256 of `image_bytes`, 64 hex digits. Raises `ImageError` as well."""
