"""Edits of a space's text: the value is there afterwards, and everything else is as it was."""

from __future__ import annotations

from typing import Any

import pytest

from sweep.errors import SpaceError
from sweep.space.document import read_document
from sweep.space.edit import flow, with_items, with_value, without

TEXT = """# a head
name: one   # its name
trial:
  # about the model
  model: {hidden: 16, heads: 4}   # small
  grpo:
    epochs: 10  # enough
parameters:
  grpo.lr:            # the rate
    type: float
    low: 1e-5
    high: 1e-3        # upper
  grpo.clip_epsilon: {type: float, low: 0.1, high: 0.3}
pruner: median

# points
enqueue:
  - {grpo.lr: 1e-4}  # old
# an end
"""


def values(text: str) -> dict[str, Any]:
    return read_document(text, "space").value


def put(whole: Any, path: tuple[str, ...], value: object) -> Any:
    if not path:
        return value
    whole = {"type": whole} if isinstance(whole, str) else whole or {}
    return {**whole, path[0]: put(whole.get(path[0]), path[1:], value)}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("trial", "grpo", "epochs"), 15),
        (("trial", "grpo", "kl_beta"), 0.1),
        (("trial", "model", "hidden"), 32),
        (("trial", "model", "dropout"), 5e-6),
        (("trial", "rce", "lr"), 1e-4),
        (("parameters", "grpo.lr", "high"), 4e-3),
        (("parameters", "grpo.lr"), {"type": "fixed", "value": 1e-4}),
        (("parameters", "grpo.clip_epsilon", "low"), 0.2),
        (("parameters", "grpo.clip_epsilon"), {"type": "fixed", "value": 0.2}),
        (("pruner", "n_warmup_steps"), 3),
        (("pruner",), {"type": "none"}),
        (("repeats",), 3),
        (("validation", "metric"), "listwise"),
        (("enqueue",), [{"grpo.lr": 1e-3, "reward.mode": "yes: no"}]),
    ],
)
def test_one_value_changes_and_nothing_else(path: tuple[str, ...], value: object) -> None:
    found = with_value(TEXT, path, value, "because of\nthis # reason")
    assert values(found) == put(values(TEXT), path, value)
    line = next(line for line in found.splitlines() if "because" in line)
    assert line.endswith("# because of this # reason")
    for comment in ("# a head", "# its name", "# about the model", "# small", "# points", "# an end", "# the rate"):
        assert comment in found


def test_keys_go_without_a_trace() -> None:
    block = without(TEXT, ("parameters", "grpo.lr"))
    assert "grpo.lr" not in values(block)["parameters"] and "# an end" in block
    for name in ("hidden", "heads"):
        assert set(values(without(TEXT, ("trial", "model", name)))["trial"]["model"]) == {"hidden", "heads"} - {name}
    assert without(TEXT, ("trial", "rce")) == TEXT


def test_a_list_stands_on_lines_of_its_own() -> None:
    items = [({"grpo.lr": 2e-4}, "first"), ({"grpo.lr": 3e-4}, "second")]
    for text in (TEXT, with_value(TEXT, ("enqueue",), [], ""), without(TEXT, ("enqueue",))):
        found = with_items(text, "enqueue", items)
        assert values(found)["enqueue"] == [one for one, _ in items]
        assert [line.rpartition("#")[2] for line in found.splitlines() if line.startswith("  - ")] == [
            " first",
            " second",
        ]


@pytest.mark.parametrize("value", ["on", "", "a: b", "{", "Ünï", "1e5", "null", 1e-300, -0.0, True, None, [1, "x"]])
def test_what_is_written_is_read_back(value: object) -> None:
    assert values(f"value: {flow(value)}\n") == {"value": value}


def test_nothing_can_be_set_within_a_list() -> None:
    with pytest.raises(SpaceError, match="enqueue is a list"):
        with_value(TEXT, ("enqueue", "x"), 1, "")
