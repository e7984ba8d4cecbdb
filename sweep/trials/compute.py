"""How a training is computed: what its bits depend on beside settings, data and versions."""

from __future__ import annotations

from typing import Any

import torch


def compute(device: torch.device) -> dict[str, Any]:
    """Of this process, as it trains on a device.

    Returns:
        device: `cpu`, or the name of the GPU.
        threads: of torch. Another number adds floats in another order.
        dtype: of the weights.
        matmul: precision of products of float32 matrices, as torch calls it.
        cpu: the widest instructions that torch uses.
    """
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "matmul": torch.get_float32_matmul_precision(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
