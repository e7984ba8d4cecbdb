"""A document as Markdown (GitHub's kind). What charts show is said in words; their points are in the JSON document.

Names, answers and reasons may come from strangers' files. Nothing of them becomes a link, an image, HTML or a heading.
"""

from __future__ import annotations

import re

from sweep.report.values import clean, text_of
from sweep.results.overview.model import (
    Block,
    Card,
    Chart,
    Column,
    Document,
    Finding,
    Findings,
    Format,
    Gallery,
    Parallel,
    Section,
    Side,
    Table,
    Text,
    Value,
)

MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!])")


def markdown_of(document: Document) -> str:
    """The whole document, ending with a line break."""
    head = [f"# Sweep {_safe(document.run)}", f"{_safe(document.state)}; written {document.made}"]
    parts = [*head, *(part for section in document.sections for part in _section(section))]
    return clean(parts, "\n\n")


def _section(section: Section) -> list[str]:
    return [f"## {_safe(section.title)}", *(part for block in section.blocks for part in _block(block) if part)]


def _block(block: Block) -> list[str]:
    match block:
        case Text():
            return _text(block)
        case Findings():
            found = [line for one in block.findings for line in _finding(one)] or ["Nothing was found."]
            return [f"### {_safe(block.title)}", *found, *map(_safe, block.notes)]
        case Table():
            return [f"### {_safe(block.title)}", _table(block), *map(_safe, block.notes)]
        case Gallery():
            return _gallery(block)
        case Chart() | Parallel():
            return [f"### {_safe(block.title)}", _safe(block.alt), *map(_safe, block.notes)]


def _finding(block: Finding) -> list[str]:
    change = [f"Change: {_safe(block.change)}"] if block.change else []
    return [f"**{_safe(block.title)}**", *map(_safe, block.evidence), *change]


def _text(block: Text) -> list[str]:
    if block.listed:
        return ["\n".join(f"- {_safe(one)}" for one in block.sentences)]
    return [f"**{_safe(one)}**" if block.strong else _safe(one) for one in block.sentences]


def _table(block: Table) -> str:
    head = "| " + " | ".join(_safe(column.title) or " " for column in block.columns) + " |"
    rule = "| " + " | ".join("---" if column.format is Format.TEXT else "---:" for column in block.columns) + " |"
    return "\n".join([head, rule, *(_row(block.columns, row) for row in block.rows)])


def _row(columns: tuple[Column, ...], row: tuple[Value, ...]) -> str:
    cells = (_safe(text_of(value, column.format)) for column, value in zip(columns, row, strict=True))
    return "| " + " | ".join(cell or " " for cell in cells) + " |"


def _gallery(block: Gallery) -> list[str]:
    shown = f" (the first {len(block.cards)} of {block.total})" if block.total > len(block.cards) else ""
    cards = [line for card in block.cards for line in _card(card)] or ["There is none."]
    return [f"### {_safe(block.title)}{shown}", *cards, *map(_safe, block.notes)]


def _card(card: Card) -> list[str]:
    asked = card.question
    expected = f" Annotators: {_safe(asked.answer)}." if asked.answer else ""
    question = _safe(asked.question) or "question"
    return [f"**{question}** (item {asked.item}){expected}", "\n".join(_side(side) for side in card.sides)]


def _side(side: Side) -> str:
    shown = "; ".join(
        f"{_safe(one.question)} {_safe(one.answer)} (item {one.item})".strip() for one in side.demonstrations
    )
    answered = f"answered {_safe(side.answer) or 'nothing'}, accuracy {text_of(side.accuracy, Format.SHARE)}"
    return f"- {_safe(side.row)}: {answered}. Shown: {shown or 'nothing'}"


def _safe(text: str) -> str:
    """One line in which no letter is taken for markup."""
    return MARKUP.sub(r"\\\1", " ".join(text.split()))
