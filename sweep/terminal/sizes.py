"""Bytes in words."""

from __future__ import annotations

GB = 10**9


def size_text(size: float) -> str:
    """Such as `1.25 GB` or `17.3 MB`: three digits, in units of a thousand."""
    return f"{size / GB:.3g} GB" if size >= GB / 10 else f"{size / 1e6:.3g} MB"
