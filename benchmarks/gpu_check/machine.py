"""Step `machine`: what this card can do at most, measured. Every share of a bound refers to it."""

from __future__ import annotations

import torch

from benchmarks.gpu_check.record import Options, Result, run_group
from benchmarks.rates import copy_rate, matmul_rate, seconds_of


def machine(options: Options) -> Result:
    """Rates of large matrix products on random data, and of copies within the device's memory."""
    side = 256 if options.tiny else 8192
    place = options.device
    rates = {"fp32": matmul_rate(place, torch.float32, side), "bf16": matmul_rate(place, torch.bfloat16, side)}
    if options.on_gpu:  # a CPU has no such mode
        rates["tf32"] = matmul_rate(place, torch.float32, side, tf32=True)
    found: Result = {"side": side, "tflops": {name: round(rate / 1e12, 3) for name, rate in rates.items()}}
    found["copy_gb_per_s"] = round(copy_rate(place, 1 << (20 if options.tiny else 32)) / 1e9, 1)
    if options.on_gpu:
        free, total = torch.cuda.mem_get_info(place)
        found |= {"free_gb": round(free / 1e9, 1), "total_gb": round(total / 1e9, 1)}
        found["launch_us"] = round(_launch_seconds(place) * 1e6, 2)
        found["tf32_by_default"] = {
            "products": torch.backends.cuda.matmul.allow_tf32,
            "convolutions": torch.backends.cudnn.allow_tf32,
        }
    return found


def _launch_seconds(place: torch.device) -> float:
    """What a small kernel costs the host; steps of decoding and small batches of training are made of these."""
    one = torch.zeros(8, device=place)
    one.add_(1)
    return seconds_of(lambda: [one.add_(1) for _ in range(2000)], place) / 2000


STEPS = {"machine": machine}

if __name__ == "__main__":
    run_group(STEPS)
