"""The architecture of a selector, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from selector.errors import SettingsError


@dataclass(frozen=True)
class SelectorConfig:
    """Architecture of a selector.

    Attributes:
        width: D, of the embeddings that it reads, at least 1.
        hidden: H, its own width, at least 1.
        layers: L, of cross-attention, at least 0.
        heads: A, of attention, a divisor of H.
        decoder: `static` or `gate`.
        temperature: divides the logits, finite and above 0.
        dropout: in [0, 1). Used by training only.

    Raises:
        SettingsError: a value that no selector can have.
    """

    width: int
    hidden: int
    layers: int
    heads: int
    decoder: str
    temperature: float
    dropout: float

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("hidden", 1), ("layers", 0), ("heads", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise SettingsError(f"{name} {value!r} must be a whole number of at least {least}")
        if self.hidden % self.heads:
            raise SettingsError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        if self.decoder not in ("static", "gate"):
            raise SettingsError(f"unknown decoder {self.decoder!r}; known are static, gate")
        if type(self.temperature) not in (int, float) or not 0 < self.temperature < math.inf:
            raise SettingsError(f"temperature {self.temperature!r} must be a finite number above 0")
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout < 1:
            raise SettingsError(f"dropout {self.dropout!r} must be in [0, 1)")
