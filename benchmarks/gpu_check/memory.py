"""The device's memory runs out in the middle of the engine's work: batches are halved, the answers stay the same.

On a card the memory that this process may take is lowered until a batch no longer fits. A CPU has no such limit. There
a stand-in for the language model raises the error, so that this step can be tried out, and the line says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from benchmarks.gpu_check.record import Options, Result, run_group
from benchmarks.gpu_check.speed import Setting, setting
from sweep.settings.vlm import VlmSettings
from sweep.vlm.engine.engine import Engine
from sweep.vlm.work import Answer

SHARES = (0.6, 0.4, 0.25, 0.15)  # of the memory that the work takes when there is plenty; the first that halves counts


class StandIn(nn.Module):
    """A language model on a device that holds so many tokens of a forward pass and no more."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most, self.embed_tokens = inner, most, inner.embed_tokens

    def forward(self, inputs_embeds: torch.Tensor, **arguments: Any) -> Any:  # noqa: ANN401 - as the inner one
        """The inner model's result. Raises what a full GPU raises."""
        if inputs_embeds.shape[0] * inputs_embeds.shape[1] > self.most:
            raise torch.OutOfMemoryError("raised by a stand-in")
        return self.inner(inputs_embeds=inputs_embeds, **arguments)


def memory_fp32(options: Options) -> Result:
    """15 million parameters in float32, where batches may change no answer."""
    found = _provoked(setting(options, queries=6, dtype=torch.float32, name="small"), options)
    return found | {"holds": found["halvings"] > 0 and found["different"] == 0}


def memory_bf16(options: Options) -> Result:
    """The 3B shape in bfloat16, where other batches round otherwise: every prompt must still be answered."""
    found = _provoked(setting(options, queries=4), options)
    return found | {"holds": found["halvings"] > 0 and found["unanswered"] == 0}


def _provoked(made: Setting, options: Options) -> Result:
    base = made.settings(1)
    settings = base.model_copy(update={"batching": base.batching.model_copy(update={"prefill_tokens": 1 << 16})})
    expected, before, peak = _plenty(made, settings, options)
    for share in SHARES:
        engine = Engine(settings, loaded=made.pair.loaded)
        longest = max(one.prompt_tokens for one in expected if isinstance(one, Answer))
        with _limited(made, options, int(before + share * (peak - before)), 2 * longest):
            results = engine.answer(made.table, made.items)
        engine.close()
        if engine.statistics.halvings:
            break
    return {
        "provoked_by": "a limit on this process's memory" if options.on_gpu else "a stand-in, since this is no GPU",
        "share": share if options.on_gpu else None,
        "halvings": engine.statistics.halvings,
        "prompts": len(results),
        "unanswered": sum(not isinstance(one, Answer) for one in results),
        "different": sum(one != other for one, other in zip(results, expected, strict=True)),
    }


def _plenty(made: Setting, settings: VlmSettings, options: Options) -> tuple[list[Any], int, int]:
    """Answers where nothing is short, and the memory in bytes before and at most."""
    engine = Engine(settings, loaded=made.pair.loaded)
    if not options.on_gpu:
        return engine.answer(made.table, made.items), 0, 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(options.device)
    before = torch.cuda.memory_reserved(options.device)
    results = engine.answer(made.table, made.items)
    engine.close()
    return results, before, torch.cuda.max_memory_reserved(options.device)


@contextmanager
def _limited(made: Setting, options: Options, most: int, tokens: int) -> Iterator[None]:
    """Within: no more than so many bytes on a card; on a CPU a stand-in that holds so many tokens."""
    if options.on_gpu:
        torch.cuda.empty_cache()
        _, total = torch.cuda.mem_get_info(options.device)
        torch.cuda.set_per_process_memory_fraction(most / total, options.device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, options.device)
        return
    inner = made.pair.loaded.model.model.language_model
    made.pair.loaded.model.model.language_model = StandIn(inner, tokens)
    try:
        yield
    finally:
        made.pair.loaded.model.model.language_model = inner


STEPS = {"memory_fp32": memory_fp32, "memory_bf16": memory_bf16}

if __name__ == "__main__":
    run_group(STEPS)
