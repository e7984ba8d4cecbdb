"""The page in a real browser: on a desk, on a phone, in the dark and on paper. It asks for nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.report.page.page import report_html
from sweep.results.overview.sources import Material
from sweep.runs.paths import RunPaths
from tests.sweep.made import made_run

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PHONE, DESK, PAPER = 375, 1280, 680
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: {CHROMIUM} is missing")
WIDE = "[...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll') && \
    one.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !one.closest('svg')).length"
INK = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(OPTIONS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(finished: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with everything, and one where everything failed for a reason that is markup."""
    folder = tmp_path_factory.mktemp("pages")
    hostile = made_run(folder, ["fail"] * 3, reason="<img src=http://evil.test/x onerror=alert(1)>")
    texts = {"finished": report_html(finished), "failed": report_html(hostile, Material(missing="gone"))}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return {name: folder / f"{name}.html" for name in texts}


class Opened:
    """A page, and what it said and asked for meanwhile."""

    def __init__(self, browser: Any, file: Path, width: int, scheme: str = "light") -> None:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page = context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        if self.page.locator(".plot").count():
            self.page.wait_for_selector("body[data-charts=drawn]", timeout=60_000)

    def check(self, file: Path) -> None:
        assert self.said == [], "nothing went wrong"
        assert [url for url in self.asked if not url.startswith("data:")] == [file.as_uri()], (
            "and nothing was asked for"
        )
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nobody scrolls sideways"
        assert self.page.evaluate(WIDE) == 0, "nothing is cut off"


@pytest.mark.parametrize(("width", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone in the dark"])
def test_on_a_screen(width: int, scheme: str, browser: Any, pages: dict[str, Path]) -> None:
    opened = Opened(browser, pages["finished"], width, scheme)
    opened.check(pages["finished"])
    page = opened.page
    assert page.locator(".plot .main-svg").count() >= page.locator(".plot").count() >= 10
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth)")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, background[4:-1].split(","))), sum(map(int, page.evaluate(INK)[4:-1].split(",")))
    assert light[0] > 600 > light[1] if scheme == "light" else light[0] < 200 < light[1], "charts follow the scheme"
    page.context.close()


def test_on_paper(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    """Charts are as wide as the paper, in black on white, though the screen was wide and dark."""
    opened = Opened(browser, pages["finished"], DESK, "dark")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    opened.page.emulate_media(media="print")
    wide = (
        "Math.max(...[...document.querySelectorAll('.plot .main-svg')].map(one => one.getBoundingClientRect().width))"
    )
    deadline = time.monotonic() + 20
    while opened.page.evaluate(wide) > PAPER and time.monotonic() < deadline:
        time.sleep(0.1)
    assert opened.page.evaluate(wide) <= PAPER
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.page.evaluate(INK) == "rgb(0, 0, 0)"
    opened.page.set_viewport_size({"width": PAPER + 10, "height": 1000})
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "tables fit the paper, too"
    assert opened.page.pdf(format="A4").startswith(b"%PDF")
    opened.page.context.close()


def test_a_hostile_run_stays_text(browser: Any, pages: dict[str, Path]) -> None:
    opened = Opened(browser, pages["failed"], PHONE)
    opened.check(pages["failed"])
    assert opened.page.locator("img").count() == 0
    assert "onerror=alert(1)" in opened.page.inner_text("#failures + .scroll")
    opened.page.context.close()
