"""How many threads torch works with inside one operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """Have torch use this many threads inside one operation, in this block, at least one.

    One thread is wanted for two reasons. Sums over several threads are added in another order on another machine. And
    where operations are tiny, threads cost more than they bring: on a busy machine they wait for each other.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def use_threads(count: float) -> None:
    """For the whole process, before it computes anything: as many threads, at least 1, none of which sees denormals."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(max(1, int(count)))
