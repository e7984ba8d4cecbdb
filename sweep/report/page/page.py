"""A document as one HTML file. It needs no network, and its content security policy forbids any.

plotly.js is within the page, compressed, and its SHA-256 stands in the policy beside that of our own script. So no
other script can run, whatever a run's files hold.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache
from html import escape
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from sweep.errors import RunError
from sweep.report.page.blocks import block_html
from sweep.report.values import clean
from sweep.results.overview.make import overview
from sweep.results.overview.model import Block, Chart, Document, Parallel, Section
from sweep.results.overview.sources import Material
from sweep.runs.paths import RunPaths

HERE = Path(__file__).parent
LEVEL = 6


def report_html(paths: RunPaths, material: Material | None = None) -> str:
    """The report of a run in any state, running or not.

    Args:
        paths: of the run.
        material: data and items, for who asks again and again (`read_material`). None reads them now.

    Raises:
        RunError: not a run, or plotly is not installed.
        StudyError: the study cannot be read.
    """
    return page_of(overview(paths, material))


def page_of(document: Document) -> str:
    """The whole page."""
    script = (HERE / "page.js").read_text(encoding="utf-8")
    has_charts = any(isinstance(block, Chart | Parallel) for one in document.sections for block in one.blocks)
    library, library_hash = _library() if has_charts else ("", "")
    allowed = " ".join(f"'sha256-{one}'" for one in (_hash(script.encode()), library_hash) if one)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    title = f"Sweep {document.run}"
    return clean(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(title)}</title><style>{(HERE / 'page.css').read_text(encoding='utf-8')}</style></head>",
            f"<body><header><h1>{escape(title)}</h1>",
            f'<p class="faint">{escape(document.state)}; written {escape(document.made)}</p></header>',
            _contents(document.sections),
            "<noscript><p>The charts need JavaScript. What they show is written below each, and in the tables.</p>"
            "</noscript><main>",
            *(_section(one) for one in document.sections),
            "</main>",
            f'<script type="text/plain" id="plotly">{library}</script>' if library else "",
            f"<script>{script}</script></body></html>",
        ]
    )


def _contents(sections: tuple[Section, ...]) -> str:
    links = "".join(f'<li><a href="#{escape(one.key)}">{escape(one.title)}</a></li>' for one in sections)
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def _section(section: Section) -> str:
    blocks = "\n".join(
        _together(list(group)) for _, group in groupby(section.blocks, lambda one: isinstance(one, Chart))
    )
    return f'<section id="{escape(section.key)}"><h2>{escape(section.title)}</h2>\n{blocks}</section>'


def _together(blocks: list[Block]) -> str:
    """Charts that follow each other stand side by side where there is room."""
    found = [block_html(block) for block in blocks]
    if len(blocks) < 2 or not isinstance(blocks[0], Chart):
        return "\n".join(found)
    return f'<div class="charts">{"".join(f"<div>{one}</div>" for one in found)}</div>'


def _hash(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


@cache
def _library() -> tuple[str, str]:
    """plotly.js as gzip in base64, 2 MB, and the hash of its text. Read without importing plotly."""
    found = find_spec("plotly")
    if found is None or found.origin is None:
        raise RunError("the charts of a report need plotly: pip install plotly; or take --markdown or --json")
    content = (Path(found.origin).parent / "package_data" / "plotly.min.js").read_bytes()
    packed = gzip.compress(content, LEVEL, mtime=0)
    return base64.b64encode(packed).decode(), _hash(content)
