"""Blocks of a document as HTML. Every text is escaped: names, answers and reasons may come from strangers' files."""

from __future__ import annotations

import json
from html import escape

from sweep.evaluation.wording import counted
from sweep.report.page.charts import figure_of
from sweep.report.values import text_of
from sweep.results.overview.model import (
    Block,
    Card,
    Chart,
    Column,
    Finding,
    Findings,
    Format,
    Gallery,
    Parallel,
    Shown,
    Side,
    Table,
    Text,
    Value,
)

MOST_ROWS = 500
"""Rows of a table in the page. The JSON document has all."""
LONG = 24
"""Letters from which a text may fold, and gets a wide column."""


def block_html(block: Block) -> str:
    """One block."""
    match block:
        case Text():
            return _text(block)
        case Table():
            return _table(block)
        case Gallery():
            return _gallery(block)
        case Findings():
            return _findings(block)
        case _:
            return _chart(block)


def _text(block: Text) -> str:
    if block.listed:
        return f"<ul>{''.join(f'<li>{escape(one)}</li>' for one in block.sentences)}</ul>"
    kind = ' class="strong"' if block.strong else ""
    return "".join(f"<p{kind}>{escape(one)}</p>" for one in block.sentences)


def _findings(block: Findings) -> str:
    found = "".join(map(_finding, block.findings)) or "<p>Nothing was found.</p>"
    return f'<h3 id="{escape(block.key)}">{escape(block.title)}</h3>{found}{_notes(block.notes)}'


def _finding(block: Finding) -> str:
    parts = [f"<p><strong>{escape(block.title)}</strong></p>"]
    parts += [f"<p>{escape(one)}</p>" for one in block.evidence]
    if block.change:
        parts.append(f"<p>Change: {escape(block.change)}</p>")
    return f'<div class="finding">{"".join(parts)}</div>'


def _notes(sentences: tuple[str, ...]) -> str:
    return "".join(f'<p class="notes">{escape(one)}</p>' for one in sentences)


def _table(block: Table) -> str:
    """The first rows, the next ones to be unfolded, and how many more there are."""
    first, rest = block.rows[: block.open_rows], block.rows[block.open_rows : MOST_ROWS]
    parts = [f'<h3 id="{escape(block.key)}">{escape(block.title)}</h3>', _grid(block, first, 0)]
    if rest:
        more = _grid(block, rest, len(first))
        parts.append(f"<details><summary>{counted(len(rest), 'more row')}</summary>{more}</details>")
    notes = block.notes
    if len(block.rows) > MOST_ROWS:
        notes = (f"The page has {MOST_ROWS} of {len(block.rows):,} rows; the JSON document has all.", *notes)
    return "".join([*parts, _notes(notes)])


def _grid(block: Table, rows: tuple[tuple[Value, ...], ...], start: int) -> str:
    head = "".join(f'<th scope="col"{_kind(one, None)}>{escape(one.title)}</th>' for one in block.columns)
    body = "".join(
        f"<tr{_marked(block, start + place)}>{''.join(_cells(block.columns, row))}</tr>"
        for place, row in enumerate(rows)
    )
    label = f'role="region" tabindex="0" aria-label="{escape(block.title)}"'
    return f'<div class="scroll" {label}><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _marked(block: Table, place: int) -> str:
    return ' class="marked"' if place in block.marked else ""


def _cells(columns: tuple[Column, ...], row: tuple[Value, ...]) -> list[str]:
    cells = [
        f"<td{_kind(column, value)}>{escape(text_of(value, column.format))}</td>"
        for column, value in zip(columns, row, strict=True)
    ]
    cells[0] = f'<th scope="row" class="text">{cells[0].partition(">")[2].removesuffix("</td>")}</th>'
    return cells


def _kind(column: Column, value: Value) -> str:
    if isinstance(value, str) and len(value) > LONG:
        return ' class="text long"'
    if column.format is Format.TEXT or isinstance(value, str):
        return ' class="text"' if value is None else ' class="text short"'
    return ' class="number"' if value is not None else ""


def _chart(block: Chart | Parallel) -> str:
    """The figure as data, drawn by the script. What it shows is said below it, so that nothing needs the drawing."""
    found = figure_of(block)
    height = found["layout"]["height"]
    figure = json.dumps(found, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    plot = f'<div class="plot" style="min-height:{height}px" role="img" aria-label="{escape(block.alt)}"></div>'
    data = f'<script type="application/json">{figure}</script>'
    return (
        f'<h3 id="{escape(block.key)}">{escape(block.title)}</h3><figure>{plot}{data}'
        f"<figcaption>{escape(block.alt)}{_notes(block.notes)}</figcaption></figure>"
    )


def _gallery(block: Gallery) -> str:
    heading = f'<h3 id="{escape(block.key)}">{escape(block.title)}</h3>'
    if not block.cards:
        return f"{heading}<p>There is none.</p>"
    more = f"The first {len(block.cards)} of {block.total}." if block.total > len(block.cards) else ""
    cards = "".join(_card(card) for card in block.cards)
    return f'{heading}{_notes((more,) if more else ())}<div class="cards">{cards}</div>{_notes(block.notes)}'


def _card(card: Card) -> str:
    asked = card.question
    expected = f'<p class="faint">Annotators: {escape(asked.answer)}</p>' if asked.answer else ""
    question = escape(asked.question) or f"item {asked.item}"
    head = f'<div class="asked">{_picture(asked)}<div><h4>{question}</h4>{expected}</div></div>'
    return f'<article class="card">{head}{"".join(_side(side) for side in card.sides)}</article>'


def _side(side: Side) -> str:
    shown = "".join(
        f"<li>{_picture(one)}<div>{escape(one.question) or f'item {one.item}'} <strong>{escape(one.answer)}</strong>"
        "</div></li>"
        for one in side.demonstrations
    )
    answer = escape(side.answer) or "nothing"
    return (
        f'<div class="side"><p>{escape(side.row)}: answered <strong>{answer}</strong>, accuracy '
        f'{text_of(side.accuracy, Format.SHARE)}</p><ol class="shown">{shown}</ol></div>'
    )


def _picture(shown: Shown) -> str:
    if shown.image is None:
        return '<div class="picture none">no image</div>'
    fine = " fine" if shown.image.startswith("data:image/jpeg") else ""
    alt = escape(f"image of: {shown.question}")
    return f'<img class="picture{fine}" src="{escape(shown.image)}" alt="{alt}">'
