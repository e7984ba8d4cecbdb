"""In-context demonstration selectors: the model, its data, its losses and its two training stages.

Importing this package needs torch and nothing else, so that an exported selector can be used anywhere.
Training and data modules (`selector.training`, `selector.data`, ...) need numpy, pyarrow and pydantic too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selector.config import SelectorConfig
    from selector.model import PointerSelector

__all__ = ["PointerSelector", "SelectorConfig"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever the name stands for)
    """Load the model when it is first asked for: `selector.errors` and its like need not wait for torch."""
    if name in __all__:
        return getattr(import_module("selector.model"), name)
    raise AttributeError(f"module 'selector' has no attribute {name!r}")
