"""A document for programs: raw numbers, with the keys of its columns. The fields are described in docs/json.md."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sweep.results.overview.model import Block, Chart, Document, Findings, Gallery, Parallel, Table, Text

FORMAT = "sweep-report/1"


def overview_document(document: Document) -> dict[str, Any]:
    """The whole document as plain values."""
    return {
        "format": FORMAT,
        "run": document.run,
        "state": document.state,
        "made": document.made,
        "headline": document.headline,
        "sections": [
            {"key": one.key, "title": one.title, "blocks": [_block(block) for block in one.blocks]}
            for one in document.sections
        ],
    }


def _block(block: Block) -> dict[str, Any]:
    match block:
        case Text():
            return {"kind": "text", "sentences": block.sentences}
        case Findings():
            return {"kind": "findings", **asdict(block)}
        case Table():
            return _table(block)
        case Chart():
            return {"kind": "chart", **asdict(block)}
        case Parallel():
            return {"kind": "parallel", **asdict(block)}
        case Gallery():
            return _gallery(block)


def _table(block: Table) -> dict[str, Any]:
    """Rows by column key. An interval is an object with `value`, `low` and `high`."""
    rows = asdict(block)["rows"]
    keys = [column.key for column in block.columns]
    return {
        "kind": "table",
        "key": block.key,
        "title": block.title,
        "columns": [{"key": column.key, "title": column.title, "format": column.format} for column in block.columns],
        "rows": [dict(zip(keys, row, strict=True)) for row in rows],
        "notes": block.notes,
    }


def _gallery(block: Gallery) -> dict[str, Any]:
    """Without the images: an item's number says which one it is."""
    found = {"kind": "gallery", **asdict(block)}
    for card in found["cards"]:
        for shown in (card["question"], *(one for side in card["sides"] for one in side["demonstrations"])):
            shown.pop("image")
    return found
