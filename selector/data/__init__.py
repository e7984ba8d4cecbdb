"""Training data: one in-memory form, the formats it is read from, and the checks that all of them pass."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selector.data.dataset import Dataset, Outcome, Split
    from selector.data.load import load
    from selector.data.settings import DataSettings
    from selector.data.summary import DataSummary, describe

__all__ = ["DataSettings", "DataSummary", "Dataset", "Outcome", "Split", "describe", "load"]
_HOMES = {
    "DataSettings": "settings",
    "DataSummary": "summary",
    "Dataset": "dataset",
    "Outcome": "dataset",
    "Split": "dataset",
    "describe": "summary",
    "load": "load",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever the name stands for)
    """Load a module when one of its names is first asked for: settings alone need no torch."""
    if name in _HOMES:
        return getattr(import_module(f"selector.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'selector.data' has no attribute {name!r}")
