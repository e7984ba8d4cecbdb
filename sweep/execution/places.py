"""Where the workers of a back-end run, as far as a coordinator needs to know."""

from __future__ import annotations

from typing import Protocol


class Places(Protocol):
    """The places of a back-end by an identity that a person need not understand, such as the id of a node."""

    def name(self, place: str) -> str:
        """What people call it."""

    def leave_out(self, place: str, reason: str) -> bool:
        """Send no more trials there. False if no place is left."""

    def leaving(self, place: str) -> bool:
        """Whether it was announced that a place will soon be gone, or is gone after that."""

    def may_move(self, place: str) -> bool:
        """Whether a place is leaving and its trials can go on at another one."""


class OnePlace:
    """All workers run at one place."""

    def name(self, place: str) -> str:
        """What people call it."""
        return place or "this machine"

    def leave_out(self, place: str, reason: str) -> bool:
        """There is no other."""
        return False

    def leaving(self, place: str) -> bool:
        """It stays."""
        return False

    def may_move(self, place: str) -> bool:
        """Nowhere to."""
        return False
