"""A real browser for tests of pages. They are left out where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def page(width: int = 1200, height: int = 800) -> Iterator[tuple[Page, list[str]]]:
    """A page of a browser that is closed again, and the errors that its console gets. Sizes in pixels."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        try:
            shown = browser.new_page(viewport={"width": width, "height": height})
            shown.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            shown.on("pageerror", lambda error: errors.append(str(error)))
            yield shown, errors
        finally:
            browser.close()
