"""Labels of nodes, and what a worker may ask of them. The spelling is that of Ray's label selectors (2.58 to 2.60)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

NODE_ID = "ray.io/node-id"
"""Every node has it. A run uses it itself, to leave nodes out."""
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:{_NAME}/)?{_NAME}")
_WANTED = re.compile(rf"(!?)(?:in\(({_NAME}(?:, ?{_NAME})*)\)|({_NAME}))")


def _checked(labels: dict[str, str]) -> dict[str, str]:
    for key, wanted in labels.items():
        if key == NODE_ID:
            raise ValueError(
                f"{NODE_ID} changes with every start of a node; use a label that you give to nodes yourself"
            )
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no name of a label; use letters, digits and _ . - between them, 63 at most")
        if not _WANTED.fullmatch(wanted):
            raise ValueError(
                f"{key}: {wanted!r} asks for nothing that a node can have; use VALUE, !VALUE, in(ONE, TWO) or "
                "!in(ONE, TWO)"
            )
    return labels


SELECTOR = "Labels that a node must have, by key: VALUE, !VALUE, in(ONE, TWO) or !in(ONE, TWO). Empty: any node."
Labels = Annotated[dict[str, str], AfterValidator(_checked)]
"""What a node's labels must be, by key: `VALUE`, `!VALUE`, `in(ONE, TWO)` or `!in(ONE, TWO)`. All of them must hold."""


def fits(wanted: Mapping[str, str], has: Mapping[str, str]) -> bool:
    """Whether a node has the labels that are asked for. A node without a key has none of its values."""
    for key, text in wanted.items():
        found = _WANTED.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no label selector")
        negated, several, one = found.groups()
        values = {value.strip() for value in several.split(",")} if several else {one}
        if (has.get(key) in values) == bool(negated):
            return False
    return True


def shown(labels: Mapping[str, str]) -> str:
    """For people: without the id that Ray gives every node."""
    return ", ".join(f"{key}={value}" for key, value in labels.items() if key != NODE_ID) or "none"
