"""In-context demonstration selectors: the model, its data, its losses and its two training stages.

Importing this package needs torch and nothing else, so that an exported selector can be used anywhere.
Training and data modules (`selector.training`, `selector.data`, ...) need numpy, pyarrow and pydantic too.
"""

from selector.model import PointerSelector, SelectorConfig

__all__ = ["PointerSelector", "SelectorConfig"]
