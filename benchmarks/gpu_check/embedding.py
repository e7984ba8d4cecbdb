"""Images per second of the vision tower of Qwen2.5-VL-3B, at 448 x 448 pixels (1,024 patches, 256 tokens)."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.gpu_check.record import Options, Result, run_group
from benchmarks.rates import matmul_rate, seconds_of
from benchmarks.vlm_models import SIZES, Pair, Size, random_pair
from benchmarks.vlm_work import photographs
from sweep.settings.vlm import ImageSettings
from sweep.vlm.engine.images import load_pixels
from sweep.vlm.engine.tower import vision_features

BATCHES = (1, 16, 64)


def embedding(options: Options) -> Result:
    """By batch size, from patches on the device; decoding images, in as many threads as there are cores; its parts."""
    size = _tower_alone(SIZES["tiny" if options.tiny else "3b"])
    side = 112 if options.tiny else 448
    dtype = torch.bfloat16 if options.on_gpu else torch.float32
    pair = random_pair(size, options.device, dtype)
    rate = matmul_rate(options.device, dtype, 256 if options.tiny else 8192)
    tower = pair.loaded.model.model.visual
    weights = sum(weights.numel() for weights in tower.parameters())
    rows = []
    with torch.inference_mode():
        for batch in (1, 2) if options.tiny else BATCHES:
            patches, grid = _patches(pair, batch, side)
            seconds = _repeated(partial(vision_features, pair.loaded, patches, grid), options)
            row = {"batch": batch, "images_per_s": round(batch / seconds, 1)}
            rows.append(row | {"share_of_bound": round(2.0 * weights * len(patches) / rate / seconds, 3)})
        product = _repeated(lambda: tower.patch_embed(patches), options)
        convolution = _repeated(lambda: pair.plain.model.visual.patch_embed(patches), options)
    return {
        "tower": "tiny" if options.tiny else "3b",
        "side": side,
        "dtype": str(dtype).removeprefix("torch."),
        "rows": rows,
        "patch_embedding_ms": {"convolution": round(convolution * 1e3, 3), "product": round(product * 1e3, 3)},
        "decoding": _decoding(pair, side, 16 if options.tiny else 256),
    }


def _tower_alone(size: Size) -> Size:
    """Its vision tower with next to no language model."""
    return replace(size, text=size.text | {"num_hidden_layers": 1})


def _patches(pair: Pair, count: int, side: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(count)
    pixels = torch.from_numpy(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8))
    patching = pair.loaded.patching
    grid = torch.tensor([[1, side // patching.patch, side // patching.patch]] * count)
    return patching.patches(pixels.to(pair.loaded.device)), grid


def _repeated(run: Callable[[], object], options: Options) -> float:
    """Seconds of one call: of five, after one to warm up."""
    seconds_of(run, options.device)
    repeats = 1 if options.tiny else 5
    return seconds_of(lambda: [run() for _ in range(repeats)], options.device) / repeats


def _decoding(pair: Pair, side: int, count: int) -> Result:
    """Images per second from encoded bytes to resized pixels, of larger pictures as cameras give them."""
    table = photographs(16, (480, 640))
    limits = ImageSettings(min_pixels=side * side, max_pixels=side * side)
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:
        seconds = seconds_of(
            lambda: list(
                pool.map(
                    lambda number: load_pixels(table.image_bytes(number % 16), limits, pair.loaded.patching),
                    range(count),
                )
            ),
            torch.device("cpu"),
        )
    mode = Image.open(io.BytesIO(table.image_bytes(0))).format
    return {"threads": threads, "images_per_s": round(count / seconds, 1), "from": f"{mode} of 480 x 640"}


STEPS = {"embedding": embedding}

if __name__ == "__main__":
    run_group(STEPS)
