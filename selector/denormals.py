"""Numbers below 1.2e-38 count as 0 while a selector is trained: a processor takes 5 times as long for products of them.

They arise from the data. Two columns of the MiniLM embeddings hold values around 1e-33 in every row, and gradients of
1e-6 times such values are denormal. No loss depends on them.

The flag belongs to a thread. The threads that torch starts for its products have that of the thread that was there when
they began. So a worker sets it first of all, before torch has computed anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """In this thread, and as before afterwards. Where a processor cannot do so, nothing happens."""
    before = are_flushed()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def are_flushed() -> bool:
    """Whether this thread takes denormal numbers for 0."""
    return not bool((torch.full((1,), 1e-38) * 0.1).any())
