"""Qwen2.5-VL-3B in its true shape with random weights: the usual ways, and our engine.

Ten rows x 1 to 4 shots per question, half of the rows duplicates, images of 480 x 640 pixels (391 tokens each), answers
of ten tokens. All ways start from encoded images. Counted are the prompts that were asked, duplicates too: the usual
ways answer each different prompt once where that is said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.engine import images_of, patches_of, settings_for, usual
from benchmarks.gpu_check.record import Options, Result, run_group
from benchmarks.plain_generate import Plain
from benchmarks.rates import engine_flops, matmul_rate, seconds_of, wait_for
from benchmarks.vlm_models import SIZES, Pair, random_pair
from benchmarks.vlm_work import Table, different, photographs, work
from sweep.settings.vlm import VlmSettings
from sweep.vlm.engine.counters import Counters, Stage
from sweep.vlm.engine.engine import Engine
from sweep.vlm.work import Answer, WorkItem

BEAMS = (1, 3)


@dataclass(frozen=True)
class Setting:
    """The model, and the work that both sides do."""

    pair: Pair
    table: Table
    items: list[WorkItem]

    def settings(self, beams: int) -> VlmSettings:
        """Batches for a GPU: steps of decoding are bound by launches, whatever the batch."""
        return settings_for(beams, 128, image_threads=len(os.sched_getaffinity(0)), vision_cache_gb=16)


def setting(options: Options, queries: int, dtype: torch.dtype | None = None, name: str = "3b") -> Setting:
    """Build the model on the device."""
    size = SIZES["tiny" if options.tiny else name]
    dtype = dtype or (torch.bfloat16 if options.on_gpu else torch.float32)
    pair = random_pair(size, options.device, dtype)
    queries = 1 if options.tiny else queries
    table = photographs(queries + (20 if options.tiny else 160), size.image)
    return Setting(pair, table, work(queries, len(table.images)))


def usual_ways(options: Options) -> Result:
    """`generate` prompt by prompt, then in left-padded batches of 32 with cached features."""
    made = setting(options, queries=4)
    unique = different(made.items)
    sampled = unique[:: max(1, len(unique) // 4)] if options.tiny else unique[:64]
    few = sampled if options.tiny else sampled[::4]
    rows = {}
    for beams in BEAMS:
        plain = Plain(made.pair, made.settings(beams))
        with torch.inference_mode():
            seconds, _ = usual(plain, made.table, made.items, sampled, few)
        rows["greedy" if beams == 1 else f"beams_{beams}"] = {name: round(1 / one, 2) for name, one in seconds.items()}
    found: Result = {"prompts_per_s": rows, "sampled": {"one by one": len(few), "padded": len(sampled)}}
    return found | _peak(options)


def engine(options: Options) -> Result:
    """Our engine: prompts per second, time by stage, share of the bound of the card, memory."""
    made = setting(options, queries=12)
    dtype = made.pair.loaded.model.dtype
    rate = matmul_rate(options.device, dtype, 256 if options.tiny else 8192)
    found: Result = {"parameters": _parameters(made.pair), "tflops_bound": round(rate / 1e12, 2)}
    found["prompts"], found["different"] = len(made.items), len(different(made.items))
    for beams in BEAMS:
        found["greedy" if beams == 1 else f"beams_{beams}"] = _engine_row(made, beams, rate, options)
    return found


def _engine_row(made: Setting, beams: int, rate: float, options: Options) -> Result:
    settings, loaded = made.settings(beams), made.pair.loaded
    unique = different(made.items)
    Engine(settings, loaded=loaded).answer(made.table, unique[:24])  # warm
    fresh = Engine(settings, loaded=loaded)
    if options.on_gpu:
        torch.cuda.reset_peak_memory_stats(options.device)
    results: list[Any] = []
    seconds = seconds_of(lambda: results.extend(fresh.answer(made.table, made.items)), options.device)
    flops = engine_flops(fresh, patches_of(fresh, made.table, unique), beams, len(unique))
    row: Result = {
        "prompts_per_s": round(len(made.items) / seconds, 2),
        "seconds": round(seconds, 2),
        "share_of_bound": round(sum(flops.values()) / rate / seconds, 3),
        "prefill_tokens": fresh.statistics.prefill_tokens,
        "shared_tokens": fresh.statistics.shared_tokens,
        "images": len(images_of(unique)),
        "answered": sum(isinstance(one, Answer) for one in results),
        "halvings": fresh.statistics.halvings,
    }
    row |= _peak(options)
    with stages_waited_for(options.device):
        staged = Engine(settings, loaded=loaded)
        whole = seconds_of(lambda: staged.answer(made.table, made.items), options.device)
    by_stage = {str(stage): one for stage, one in staged.statistics.seconds.items() if one}
    row["seconds_by_stage"] = {stage: round(one, 3) for stage, one in by_stage.items()}
    row["seconds_elsewhere"] = round(whole - sum(by_stage.values()), 3)
    row["share_of_bound_by_stage"] = {name: round(flops[name] / rate / by_stage[name], 3) for name in flops}
    return row


@contextmanager
def stages_waited_for(device: torch.device) -> Iterator[None]:
    """The engine's own stages, each with the work of the GPU that belongs to it; this costs some speed."""

    @contextmanager
    def timing(counters: Counters, stage: Stage) -> Iterator[None]:
        wait_for(device)
        started = time.perf_counter()
        try:
            yield
        finally:
            wait_for(device)
            counters.seconds[stage] += time.perf_counter() - started

    with patch.object(Counters, "timing", timing):
        yield


def _peak(options: Options) -> Result:
    if not options.on_gpu:
        return {}
    return {
        "peak_gb": round(torch.cuda.max_memory_allocated(options.device) / 1e9, 2),
        "reserved_gb": round(torch.cuda.max_memory_reserved(options.device) / 1e9, 2),
    }


def _parameters(pair: Pair) -> int:
    return sum(weights.numel() for weights in pair.plain.parameters())


STEPS = {"usual": usual_ways, "engine": engine}

if __name__ == "__main__":
    run_group(STEPS)
