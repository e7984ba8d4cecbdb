"""One space against another: is a run being resumed with the space that it was started with?"""

from __future__ import annotations

import json
from typing import Any

from sweep.space.search_space import SearchSpace

MAY_CHANGE = (
    "budget",
    "collect",
    "concurrency",
    "data",
    "description",
    "embed",
    "evaluation",
    "items",
    "keep_epochs",
    "loggers",
    "max_disk_gb",
    "max_retries",
    "notify",
    "resources",
    "storage",
    "vlm",
)
"""Sections that a resumed run may change: they alter how far and how fast it goes, or what is asked when its trials
have ended, not what a trial is.

Data may have moved; the runner compares its fingerprint, which says whether it is the same.
"""


def canonical(space: SearchSpace) -> dict[str, Any]:
    """All settings as JSON values, defaults filled in. Equal spaces give equal values however they were written."""
    dump: dict[str, Any] = space.model_dump(mode="json")
    if "seed" not in space.trial.model_fields_set:  # then the space's seed decides (`SearchSpace.resolve`)
        dump["trial"]["seed"] = None
    return dump


def identity(space: SearchSpace) -> dict[str, Any]:
    """`canonical` without what a resumed run may change."""
    return {key: value for key, value in canonical(space).items() if key not in MAY_CHANGE}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`path: old -> new` for every value that differs between two results of `canonical` or `identity`.

    A setting that is null and was absent is none: it came with a later version, and null is what was done before.
    """
    before, after = dict(_leaves(old)), dict(_leaves(new))
    paths = [*before, *(path for path in after if path not in before)]
    return [
        f"{path}: {_show(before, path)} -> {_show(after, path)}"
        for path in paths
        if _show(before, path) != _show(after, path) and (path in before or after[path] is not None)
    ]


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:  # noqa: ANN401 (any JSON value)
    if isinstance(value, dict) and value:
        pairs = [(f"{path}.{key}" if path else key, item) for key, item in value.items()]
        return [leaf for name, item in pairs for leaf in _leaves(item, name)]
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return [leaf for index, item in enumerate(value) for leaf in _leaves(item, f"{path}[{index}]")]
    return [(path, value)]


def _show(values: dict[str, Any], path: str) -> str:
    return json.dumps(values[path]) if path in values else "absent"
