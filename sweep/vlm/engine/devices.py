"""Moving small arrays to a device without waiting for it, and the one number that says what fits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_NO_WORKSPACE = "CUBLAS_STATUS_ALLOC_FAILED"  # what a full GPU says when a matrix product asks for its first memory
logger = logging.getLogger(__name__)


def to_device(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """A numpy array on a device. It goes to a GPU through pinned memory, so that nothing waits."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Limit:
    """How much is computed at once. Shrinks when the device's memory runs out, and stays so."""

    def __init__(self, name: str, value: int) -> None:
        self.name = name
        self.value = value
        self.halvings = 0

    def halve(self, used: int) -> None:
        """What did not fit was of size `used`. From now on at most half of that is tried."""
        smaller = max(1, min(self.value, used) // 2)
        logger.warning("out of device memory: %s from %d to %d", self.name, self.value, smaller)
        self.value = smaller
        self.halvings += 1


class MemoryRanOut:
    """Whether the block before ended for lack of device memory."""

    def __init__(self) -> None:
        self.happened = False

    def __bool__(self) -> bool:
        return self.happened


@contextmanager
def watching_memory(device: torch.device) -> Iterator[MemoryRanOut]:
    """Ends quietly when the device's memory runs out, and says so. The memory of the attempt is free again."""
    outcome = MemoryRanOut()
    try:
        yield outcome
    except torch.OutOfMemoryError:
        outcome.happened = True
    except RuntimeError as error:
        if _NO_WORKSPACE not in str(error):
            raise
        outcome.happened = True
    if outcome and device.type == "cuda":  # here, since the exception held the frames and their tensors
        torch.cuda.empty_cache()
