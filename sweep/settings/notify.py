"""Section `notify`: who is told when a run has ended."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from selector.settings import FrozenModel


class NotifySettings(FrozenModel):
    """Where a JSON document is sent when a run ends, however it ends."""

    url: Annotated[
        str, Field(max_length=2000, description="http:// or https://; often a secret, so it is never shown.")
    ]

    @field_validator("url")
    @classmethod
    def _usable(cls, value: str) -> str:
        """The message says what is wrong and not what the URL is."""
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:
            raise ValueError("not a URL; use one such as https://example.org/hook") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise ValueError("not a http:// or https:// URL; use one such as https://example.org/hook")
        if parts.username is not None:
            raise ValueError("a user name or password in the URL is not sent; use a URL that needs none")
        if any(ord(sign) <= 32 or ord(sign) == 127 for sign in value) or not value.isascii():
            raise ValueError("a URL has no spaces, control characters or letters beyond ASCII: write them as %XX")
        return value

    @property
    def host(self) -> str:
        """The part of the URL that may be shown."""
        return urlsplit(self.url).hostname or ""
