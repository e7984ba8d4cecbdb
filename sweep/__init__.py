"""Sweeps of selector training on Ray Tune with Optuna: space, study, trials, progress, export.

In Python, `sweep.run`, `sweep.resume` and `sweep.load_run` are the door. They are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.api import Best, Run, UserError, load_run, resume, run

__all__ = ["Best", "Run", "UserError", "load_run", "resume", "run"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (what the API holds)
    if name in __all__:
        return getattr(import_module("sweep.api"), name)
    raise AttributeError(f"module 'sweep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
