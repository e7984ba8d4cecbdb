"""The answering engine against the usual way: transformers' `generate`, one prompt at a time.

    python -m benchmarks.engine [--size demo|small|3b|7b] [--queries 8] [--plain 24] [--shots 1 2 4 8]

The work is that of an evaluation: `--queries` questions x 10 rows x 1 to 4 shots, where half of the rows select what
another row selects. `demo` is the model that ships; `small` a random one of 15 million parameters; `3b` and `7b` have
the true shapes of Qwen2.5-VL with random weights (from its published configurations; their answers never end early, so
decoding takes all its steps). Both sides answer 10 tokens, greedy and with 3 beams, on the same images.

The gains are added one after another; `generate` is timed on `--plain` of the prompts, and computing features on about
16 of the images. On the CPU time is that of the process's processor, so that other processes count little; on a GPU it
is the wall clock. The share of the bound is the time that the engine's own matrix products (prefill after sharing,
vision, decoding) take at the rate that a large product reaches on this machine, over the time it took.

With `--shots` the engine alone answers `--plain` prompts of each of these numbers of demonstrations, which share no
more than the system message. It says what a token costs.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.figures import Figure, add_option, write
from benchmarks.plain_generate import Plain
from benchmarks.rates import engine_flops, matmul_rate, work_seconds
from benchmarks.vlm_models import SIZES, Pair, demo_pair, random_pair
from benchmarks.vlm_work import Table, different, photographs, work
from sweep.settings.vlm import DEMO_MODEL, Precision, VlmSettings
from sweep.vlm.engine import packing as trie
from sweep.vlm.engine.engine import Engine
from sweep.vlm.work import Answer, WorkItem

TOKENS = 10
PADDED = 32  # prompts of a left-padded batch


def without_tree() -> AbstractContextManager[Any]:
    """As if no two prompts had a beginning in common."""
    return patch.object(trie, "common_prefix", lambda *_: 0)


def settings_for(beams: int, decode_rows: int = 64, **batching: float) -> VlmSettings:
    """How both sides are asked."""
    return VlmSettings.model_validate(
        {
            "model": {"path": DEMO_MODEL},
            "images": {"min_pixels": 784},
            "decoding": {"num_beams": beams, "max_new_tokens": TOKENS},
            "batching": {"decode_rows": decode_rows, "vision_cache_gb": 8, "image_threads": 8, **batching},
        }
    )


def images_of(items: Sequence[WorkItem]) -> list[int]:
    """Items whose images are shown."""
    return sorted({image for item in items for image in (item.query, *item.demonstrations)})


def patches_of(engine: Engine, table: Table, items: Sequence[WorkItem]) -> int:
    """Patches of the different images of items that the engine has answered."""
    grids = [engine._vision.grid(table.image_hash(image)) for image in images_of(items)]
    return sum(4 * rows * columns for rows, columns in grids)


def usual(
    plain: Plain, table: Table, items: Sequence[WorkItem], sampled: Sequence[WorkItem], singly: Sequence[WorkItem]
) -> tuple[dict[str, float], list[str]]:
    """Seconds per prompt of `items` of the usual ways, measured on samples; and what `generate` said to `singly`.

    Args:
        plain: who answers.
        table: the items.
        items: the whole work.
        sampled: some of its different prompts, for batches.
        singly: some of these, for what goes prompt by prompt.
    """
    place, unique = plain.device, different(items)
    share = len(unique) / len(items)
    plain.answer(table, singly[0])  # warm
    said: list[str] = []
    one = work_seconds(lambda: said.extend(plain.texts(table, singly)), place) / len(singly)
    images = images_of(unique)
    looked = images[:: max(1, len(images) // 16)]
    looking = work_seconds(lambda: plain.features(table, looked), place) / len(looked) * len(images) / len(items)
    features = plain.features(table, images_of(sampled))
    prepared = [plain.embed(table, item, features) for item in sampled]
    alone = [prepared[list(sampled).index(item)] for item in singly]
    cached = work_seconds(lambda: [plain.answer_padded([prompt]) for prompt in alone], place) / len(alone)
    batches = [prepared[at : at + PADDED] for at in range(0, len(prepared), PADDED)]
    plain.answer_padded(batches[0])  # warm
    padded = work_seconds(lambda: [plain.answer_padded(batch) for batch in batches], place) / len(sampled)
    seconds = {"generate, prompt by prompt": one, "+ duplicates answered once": one * share}
    seconds["+ each image computed once"] = cached * share + looking
    seconds[f"+ left-padded batches of {min(PADDED, len(sampled))}"] = padded * share + looking
    return seconds, said


def compare(
    pair: Pair, settings: VlmSettings, table: Table, items: Sequence[WorkItem], sample: int
) -> dict[str, float]:
    """Time one number of beams and print the gains one after another. Seconds per prompt by what was done."""
    unique, place = different(items), pair.loaded.device
    beams = settings.decoding.num_beams
    Engine(settings, loaded=pair.loaded).answer(table, unique[:8])  # warm
    sampled = random.Random(1).sample(unique, min(sample, len(unique)))
    with torch.inference_mode():
        seconds, said = usual(Plain(pair, settings), table, items, sampled, sampled)
    for name, context in (("one prefill, batches", without_tree()), ("+ prefix tree", nullcontext())):
        fresh = Engine(settings, loaded=pair.loaded)
        with context:
            seconds[name] = work_seconds(lambda engine=fresh: engine.answer(table, items), place) / len(items)  # type: ignore[misc]
    print(f"\n{'greedy' if beams == 1 else f'{beams} beams'}: {len(items)} prompts, {len(unique)} of them different")
    before = first = seconds["generate, prompt by prompt"]
    for name, one in seconds.items():
        print(f"  {name:28} {1 / one:9.1f} prompts/s   x {before / one:5.2f}   x {first / one:6.1f} in all")
        before = one
    answers = Engine(settings, loaded=pair.loaded).answer(table, sampled)
    same = sum(isinstance(one, Answer) and one.text == text for one, text in zip(answers, said, strict=True))
    print(f"  {same} of {len(sampled)} answers are word for word those of generate")
    _explain(fresh, table, unique, beams, seconds["+ prefix tree"] * len(items))
    return seconds


def _figures(case: str, seconds: dict[str, float]) -> list[Figure]:
    ours = seconds["+ prefix tree"]
    padded = next(name for name in seconds if name.startswith("+ left-padded"))
    against = {"generate": "generate, prompt by prompt", "padded batches": padded}
    return [Figure("engine", f"{case}, over {word}", seconds[name] / ours) for word, name in against.items()]


def _explain(engine: Engine, table: Table, unique: Sequence[WorkItem], beams: int, took: float) -> None:
    statistics = engine.statistics
    parts = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in statistics.seconds.items() if seconds)
    print(f"  prefill {statistics.prefill_tokens} tokens, {statistics.shared_tokens} shared; host time: {parts}")
    place, dtype = engine.loaded.device, engine.loaded.model.dtype
    rate = matmul_rate(place, dtype, 8192 if place.type == "cuda" else 1024)
    bound = sum(engine_flops(engine, patches_of(engine, table, unique), beams, len(unique)).values()) / rate
    print(f"  bound {bound:.2f} s at {rate / 1e12:.2f} TFLOP/s, took {took:.2f} s: {bound / took:.0%} of the bound")


def by_shots(pair: Pair, table: Table, shots: Sequence[int], prompts: int) -> None:
    """What a token of a prompt costs, by the number of demonstrations. Images are computed before the clock starts."""
    rng = random.Random(0)
    print(f"\n{prompts} prompts each, greedy\n  shots  tokens a prompt  ms a prompt  us a token")
    for count in shots:
        rows = [rng.sample(range(len(table.images)), count + 1) for _ in range(prompts)]
        items = [WorkItem(query, tuple(demonstrations)) for query, *demonstrations in rows]
        engine = Engine(settings_for(1), loaded=pair.loaded)
        engine.answer(table, [WorkItem(image) for image in images_of(items)])
        before = engine.statistics.prefill_tokens
        took = work_seconds(lambda engine=engine, items=items: engine.answer(table, items), pair.loaded.device)  # type: ignore[misc]
        tokens = engine.statistics.prefill_tokens - before
        print(f"  {count:5}  {tokens / prompts:15.0f}  {took / prompts * 1e3:11.1f}  {took / tokens * 1e6:10.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=["demo", *SIZES], default="demo")
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--plain", type=int, default=24)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--decode-rows", type=int, default=64)
    parser.add_argument("--shots", type=int, nargs="+", metavar="N")
    add_option(parser)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    on_cpu = device.type == "cpu"
    if on_cpu:
        torch.set_num_threads(1)
    if arguments.size == "demo":
        pair = demo_pair(device, Precision.AUTO)
        table = photographs(arguments.queries + 200, (28, 28))
    else:
        size = SIZES[arguments.size]
        pair = random_pair(size, device, torch.float32 if on_cpu else torch.bfloat16)
        table = photographs(arguments.queries + 200, size.image)
    if arguments.shots:
        by_shots(pair, table, arguments.shots, arguments.plain)
        return
    for beams in (1, 3):
        settings = settings_for(beams, arguments.decode_rows)
        seconds = compare(pair, settings, table, work(arguments.queries, len(table.images)), arguments.plain)
        write(arguments.figures, _figures(f"{arguments.size}, {'greedy' if beams == 1 else f'{beams} beams'}", seconds))


if __name__ == "__main__":
    main()
