"""What a device can do at most, measured; and what an engine's work costs at least."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sweep.vlm.flops import VlmShape

if TYPE_CHECKING:  # trials are measured too, in processes that need no transformers
    from sweep.vlm.engine.engine import Engine


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Of the clock, with a GPU's work waited for before and after."""
    wait_for(device)
    started = time.perf_counter()
    run()
    wait_for(device)
    return time.perf_counter() - started


def work_seconds(run: Callable[[], object], device: torch.device) -> float:
    """As `seconds_of`, but of this process's processor on a CPU, so that other processes count little."""
    if device.type == "cuda":
        return seconds_of(run, device)
    started = time.process_time()
    run()
    return time.process_time() - started


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int = 8192, tf32: bool = False) -> float:
    """FLOP/s of a square matrix product on random data: the median of five timings of a few products each.

    On a CPU of one thread; `work_seconds` says of what.
    """
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(side, side, device=device, generator=generator).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        once = max(_warm(left, right, out, device), 1e-6)
        repeats = max(1, min(20, round(0.05 / once)))
        times = [work_seconds(lambda: _products(left, right, out, repeats), device) / repeats for _ in range(5)]
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return 2.0 * side**3 / statistics.median(times)


def _warm(left: Tensor, right: Tensor, out: Tensor, device: torch.device) -> float:
    _products(left, right, out, 2)
    return seconds_of(lambda: _products(left, right, out, 1), device)


def _products(left: Tensor, right: Tensor, out: Tensor, repeats: int) -> None:
    for _ in range(repeats):
        torch.mm(left, right, out=out)


def copy_rate(device: torch.device, size: int) -> float:
    """Bytes per second that a copy on the device moves, read and written counted; `size` bytes are copied."""
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    times = [seconds_of(lambda: target.copy_(source), device) for _ in range(5)]
    return 2.0 * size / statistics.median(times)


def engine_flops(engine: Engine, patches: int, beams: int, prompts: int) -> dict[str, float]:
    """Of the products with weights that an engine had to do, by stage; attention itself is left out.

    Args:
        engine: fresh before the work, whose prefilled tokens are taken from its statistics.
        patches: of all different images.
        beams: per prompt; every answer is taken to have all its tokens.
        prompts: different ones.
    """
    shape = VlmShape.of(engine.loaded.model.config.to_dict())
    steps = prompts * beams * (engine.settings.decoding.max_new_tokens - 1)
    return {
        "vision": shape.vision.products(patches),
        "prefill": shape.text.prefill(engine.statistics.prefill_tokens, prompts),
        "decode": shape.text.products(steps, steps + prompts),
    }
