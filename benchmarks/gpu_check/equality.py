"""The engine against plain `generate`, prompt by prompt, on the same weights: answers, and logits of their first token.

In float32 no answer may differ. torch lets cuDNN compute convolutions in tf32 by default, and `generate` has one in its
vision tower; it is switched off here, and what it would do to the logits is a number of its own. In bfloat16 both sides
round, each in its own order: there the question is whether the engine is further from float32 than `generate` is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.engine import settings_for
from benchmarks.gpu_check.record import Options, Result, run_group
from benchmarks.plain_generate import Plain
from benchmarks.vlm_models import Pair, demo_pair, random_pair, tiny
from benchmarks.vlm_work import Table, demo_items, different, photographs, work
from sweep.settings.vlm import Precision
from sweep.vlm.engine.engine import Engine
from sweep.vlm.engine.prefill import prefill
from sweep.vlm.work import Answer, WorkItem

BEAMS = (1, 3)
LOGIT_PROMPTS = 16


@dataclass(frozen=True)
class Asked:
    """A table and the different prompts that are asked of it."""

    table: Table
    items: Sequence[WorkItem]


def fp32_demo(options: Options) -> Result:
    """The demo model on items of its world."""
    pair = demo_pair(options.device, Precision.FLOAT32)
    asked = _demo_asked(options)
    return _compared(pair, asked, _until(options, 20)) | _tf32(pair, asked, options)


def fp32_random(options: Options) -> Result:
    """Random models with 1, 2 and 4 key heads, images of several sizes."""
    rows = []
    for kv_heads in (2,) if options.tiny else (1, 2, 4):
        pair = random_pair(tiny(kv_heads), options.device, torch.float32, seed=kv_heads)
        rows.append({"kv_heads": kv_heads} | _compared(pair, _random_asked(options), _until(options, 8)))
    return {"holds": all(row["holds"] for row in rows), "rows": rows}


def bf16(options: Options) -> Result:
    """Agreement in bfloat16, and the distance of both sides' logits from those of `generate` in float32."""
    made = {"demo": (demo_pair(options.device, Precision.FLOAT32), demo_pair(options.device, Precision.BFLOAT16))}
    size = tiny(2)
    made["random"] = (
        random_pair(size, options.device, torch.float32),
        random_pair(size, options.device, torch.bfloat16),
    )
    rows: list[dict[str, Any]] = []
    for name, (exact, half) in made.items():
        if name == "random":  # drawn in bfloat16 the weights are others: round the float32 ones
            half.plain.load_state_dict(exact.plain.state_dict())
            half.loaded.model.load_state_dict(exact.loaded.model.state_dict())
        asked = _demo_asked(options) if name == "demo" else _random_asked(options)
        row = _compared(half, asked, _until(options, 8))
        del row["holds"]
        with torch.inference_mode():
            items = asked.items[:LOGIT_PROMPTS]
            wanted = _plain_logits(exact, asked.table, items)
            row["engine_error"] = _relative(engine_logits(half, asked.table, items), wanted)
            row["generate_error"] = _relative(_plain_logits(half, asked.table, items), wanted)
        rows.append({"model": name} | row)
    holds = all(row["engine_error"] < 1.5 * row["generate_error"] + 1e-3 for row in rows)
    return {"holds": holds, "wanted": "engine no further from float32 than generate", "rows": rows}


def _tf32(pair: Pair, asked: Asked, options: Options) -> Result:
    """How far the logits of `generate` move by torch's default for convolutions on a GPU."""
    if not options.on_gpu:
        return {}
    with torch.inference_mode():
        items = asked.items[:LOGIT_PROMPTS]
        exact = _plain_logits(pair, asked.table, items)
        torch.backends.cudnn.allow_tf32 = True
        moved = _plain_logits(pair, asked.table, items)
        torch.backends.cudnn.allow_tf32 = False
    return {"tf32_convolution_moves_logits_by": float((moved - exact).abs().max())}


def _until(options: Options, seconds: float) -> float:
    return time.monotonic() + (5 if options.tiny else seconds)


def _demo_asked(options: Options) -> Asked:
    table = demo_items(60 if options.tiny else 300)
    return Asked(table, different(work(1 if options.tiny else 8, len(table.images)))[: 4 if options.tiny else None])


def _random_asked(options: Options) -> Asked:
    table = photographs(30 if options.tiny else 60, (84, 56), spread=3)
    return Asked(table, different(work(1 if options.tiny else 4, len(table.images)))[: 4 if options.tiny else None])


def _compared(pair: Pair, asked: Asked, until: float) -> Result:
    """Differing answers, greedy and with beams, of as many prompts as there is time for; and logits."""
    torch.backends.cudnn.allow_tf32 = False
    found: Result = {"compared": {}, "different": {}}
    share = (until - time.monotonic()) / len(BEAMS)
    for number, beams in enumerate(BEAMS, 1):
        settings = settings_for(beams)
        results = Engine(settings, loaded=pair.loaded).answer(asked.table, asked.items)
        plain, counted, wrong = Plain(pair, settings), 0, 0
        with torch.inference_mode():
            for item, result in zip(asked.items, results, strict=True):
                wrong += not isinstance(result, Answer) or result.text != plain.texts(asked.table, [item])[0]
                counted += 1
                if time.monotonic() > until - share * (len(BEAMS) - number):
                    break
        name = "greedy" if beams == 1 else f"beams_{beams}"
        found["compared"][name], found["different"][name] = counted, wrong
    with torch.inference_mode():
        items = asked.items[:LOGIT_PROMPTS]
        ours, theirs = engine_logits(pair, asked.table, items), _plain_logits(pair, asked.table, items)
    found["largest_logit"] = float(theirs.abs().max())
    found["largest_logit_difference"] = float((ours - theirs).abs().max())
    found["distinct_answers"] = len({result.text for result in results if isinstance(result, Answer)})
    return found | {"holds": not any(found["different"].values())}


def engine_logits(pair: Pair, table: Table, items: Sequence[WorkItem]) -> Tensor:
    """Logits of the first token after each prompt by the engine's packed prefill, float32 [prompts, C]."""
    engine = Engine(settings_for(1), loaded=pair.loaded)
    chunk = engine._intake.start(table, items)
    jobs, _ = engine._intake.jobs(table, chunk, engine.loaded.context, score=False)
    ordered = sorted(jobs, key=lambda job: job.row.key)
    rows = [job.row for job in ordered]
    features = engine._vision.features(key for row in rows for key, _ in row.images)
    read, _ = prefill(engine.loaded, rows, features)
    engine.close()
    last = {id(job): one.last_D for job, one in zip(ordered, read, strict=True)}
    logits: Tensor = engine.loaded.model.lm_head(torch.stack([last[id(job)] for job in jobs]))
    return logits.float()


def _plain_logits(pair: Pair, table: Table, items: Sequence[WorkItem]) -> Tensor:
    plain = Plain(pair, settings_for(1))
    return torch.stack([plain.last_logits(table, item) for item in items])


def _relative(found: Tensor, wanted: Tensor) -> float:
    """|found - wanted| / |wanted|."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


STEPS = {"fp32_demo": fp32_demo, "fp32_random": fp32_random, "bf16": bf16}

if __name__ == "__main__":
    run_group(STEPS)
