"""Looking into a document as `report --json` prints it, the way a program of somebody else would."""

from __future__ import annotations

import json
from typing import Any

from sweep.report.documents import document_text
from sweep.report.overview import overview_document
from sweep.results.overview.model import Document

Plain = dict[str, Any]


def plain(document: Document) -> Plain:
    """What is printed, read again."""
    found: Plain = json.loads(document_text(overview_document(document)))
    return found


def block(document: Plain, key: str) -> Plain:
    """The one block with this key."""
    found = [one for section in document["sections"] for one in section["blocks"] if one.get("key") == key]
    assert len(found) == 1, f"{len(found)} blocks {key!r}"
    return dict(found[0])


def texts(document: Plain, section: str) -> str:
    """All sentences of a section."""
    found = [one for one in document["sections"] if one["key"] == section]
    assert len(found) == 1, section
    return "\n".join(sentence for one in found[0]["blocks"] for sentence in one.get("sentences", ()))
