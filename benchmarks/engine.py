"""The answering engine against the usual way: transformers' `generate`, one prompt at a time.

    python -m benchmarks.engine [--size demo|small|3b|7b] [--queries 8] [--plain 24]

The work is that of an evaluation: `--queries` questions x 10 rows x 1 to 4 shots, where half of the rows select what
another row selects. `demo` is the model that ships; `small` a random one of 15 million parameters; `3b` and `7b` have
the true shapes of Qwen2.5-VL with random weights (from its published configurations; their answers never end early, so
decoding takes all its steps). Both sides answer 10 tokens, greedy and with 3 beams, on the same images.

The gains are added one after another; `generate` is timed on `--plain` of the prompts, and computing features on about
16 of the images. On the CPU time is that of the process's processor, so that other processes count little; on a GPU it
is the wall clock. The share of the bound is the time that the engine's own matrix products (prefill after sharing,
vision, decoding) take at the GPU's dense bfloat16 peak, over the time it took.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from benchmarks.vlm_work import SIZES, Table, work, write_model
from sweep.settings.vlm import DEMO_MODEL, VlmSettings
from sweep.vlm.engine.engine import Engine
from sweep.vlm.prompts import PromptRenderer
from sweep.vlm.work import Answer, WorkItem

TOKENS = 10
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}  # dense bfloat16 FLOP/s


class Plain:
    """The usual way: processor and `generate`, prompt by prompt."""

    def __init__(self, engine: Engine, folder: Path, beams: int) -> None:
        self.engine, self.beams = engine, beams
        loaded, settings = engine.loaded, engine.settings
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=loaded.model.dtype, attn_implementation="sdpa"
        )
        self.model = self.model.to(loaded.device).eval()
        self.limits = {"shortest_edge": settings.images.min_pixels, "longest_edge": settings.images.max_pixels}
        self.processor = Qwen2VLImageProcessorPil.from_pretrained(folder, size=dict(self.limits))
        self.renderer = PromptRenderer(settings.prompt, loaded.tokenizer)
        self.features: dict[str, Any] = {}

    def inputs(self, table: Table, item: WorkItem) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Token ids with their mask and kinds; pixels with their grids."""
        prompt = self.renderer.render(item, table)
        images = [Image.open(io.BytesIO(table.image_bytes(image))).convert("RGB") for image in prompt.images]
        pixels = self.processor(images=images, size=self.limits, return_tensors="pt").to(self.model.device)
        counts = iter((pixels["image_grid_thw"].prod(-1) // 4).tolist())
        image_token = self.model.config.image_token_id
        ids = self.engine.loaded.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        spread = [one for token in ids for one in [token] * (next(counts) if token == image_token else 1)]
        input_ids = torch.tensor([spread], device=self.model.device)
        kinds = (input_ids == image_token).int()
        return {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "mm_token_type_ids": kinds,
        }, pixels

    def generate(self, **inputs: torch.Tensor) -> list[int]:
        """With every generation setting pinned."""
        options = {"temperature": None, "top_p": None, "top_k": None, "repetition_penalty": 1.0}
        generated: list[int] = self.model.generate(
            **inputs, max_new_tokens=TOKENS, num_beams=self.beams, do_sample=False, **options
        )[0].tolist()
        return generated

    def answer(self, table: Table, item: WorkItem) -> list[int]:
        """From the encoded images on."""
        ids, pixels = self.inputs(table, item)
        return self.generate(**ids, **pixels)[ids["input_ids"].shape[1] :]

    def look(self, table: Table, image: int) -> None:
        """Decode one image and compute its features."""
        picture = Image.open(io.BytesIO(table.image_bytes(image))).convert("RGB")
        pixels = self.processor(images=[picture], size=self.limits, return_tensors="pt").to(self.model.device)
        self.model.model.get_image_features(**pixels)

    def prepare(self, table: Table, items: Sequence[WorkItem]) -> list[dict[str, torch.Tensor]]:
        """Embedded prompts, images included."""
        prepared = []
        for item in items:
            ids, pixels = self.inputs(table, item)
            features = torch.cat(list(self.model.model.get_image_features(**pixels).pooler_output))
            mask = ids["mm_token_type_ids"].bool()[..., None]
            embeds = self.model.get_input_embeddings()(ids["input_ids"]).masked_scatter(mask, features)
            positions, _ = self.model.model.get_rope_index(
                ids["input_ids"], ids["mm_token_type_ids"], pixels["image_grid_thw"]
            )
            prepared.append(
                {
                    "input_ids": ids["input_ids"],
                    "attention_mask": ids["attention_mask"],
                    "inputs_embeds": embeds,
                    "position_ids": positions,
                }
            )
        return prepared


def measure(run: Callable[[], object], device: torch.device) -> float:
    """Seconds: of this process's processor on the CPU, of the clock on a GPU."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(device)
    clock = time.perf_counter if on_gpu else time.process_time
    started = clock()
    run()
    if on_gpu:
        torch.cuda.synchronize(device)
    return clock() - started


def without_tree() -> AbstractContextManager[Any]:
    """As if no two prompts had a beginning in common."""
    return patch("sweep.vlm.engine.packing.common_prefix", lambda *_: 0)


def flops(engine: Engine, patches: int, beams: int, prompts: int) -> float:
    """Of the matrix products with weights that the engine had to do (attention itself left out, as in the bound)."""
    model = engine.loaded.model
    layers = sum(weights.numel() for weights in model.model.language_model.layers.parameters())
    tower = sum(weights.numel() for weights in model.model.visual.parameters())
    steps = prompts * beams * (TOKENS - 1)
    head = model.lm_head.weight.numel() * (steps + prompts)
    return 2.0 * (layers * (engine.statistics.prefill_tokens + steps) + tower * patches + head)


def _engine(settings: VlmSettings, device: str) -> Engine:
    return Engine(settings, device)


def compare(settings: VlmSettings, folder: Path, table: Table, queries: int, sample: int, device: str) -> None:
    """Time one number of beams and print the gains one after another."""
    items = work(queries, len(table.images))
    different = list(dict.fromkeys(items))
    beams = settings.decoding.num_beams
    engine = _engine(settings, device)
    place = engine.loaded.device
    engine.answer(table, different[:8])  # warm
    plain = Plain(engine, folder, beams)
    sampled = random.Random(1).sample(different, min(sample, len(different)))
    with torch.inference_mode():
        plain.answer(table, sampled[0])
        usual = measure(lambda: [plain.answer(table, item) for item in sampled], place) / len(sampled)
        said = [engine.loaded.tokenizer.decode(plain.answer(table, item), skip_special_tokens=True) for item in sampled]
        prepared = plain.prepare(table, sampled)
        images = sorted({image for item in different for image in (item.query, *item.demonstrations)})
        looked = images[:: max(1, len(images) // 16)]
        looking = measure(lambda: [plain.look(table, image) for image in looked], place) / len(looked) * len(images)
        cached = measure(lambda: [plain.generate(**inputs) for inputs in prepared], place) / len(sampled)
    share = len(different) / len(items)
    seconds = {"generate, prompt by prompt": usual, "+ duplicates answered once": usual * share}
    seconds["+ each image computed once"] = cached * share + looking / len(items)
    for name, context in (("+ one prefill, batches", without_tree()), ("+ prefix tree", nullcontext())):
        fresh = _engine(settings, device)
        with context:
            seconds[name] = measure(lambda engine=fresh: engine.answer(table, items), place) / len(items)  # type: ignore[misc]
    print(f"\n{'greedy' if beams == 1 else f'{beams} beams'}: {len(items)} prompts, {len(different)} of them different")
    before = usual
    for name, one in seconds.items():
        print(f"  {name:28} {1 / one:9.1f} prompts/s   x {before / one:5.2f}   x {usual / one:6.1f} in all")
        before = one
    answers = engine.answer(table, sampled)
    same = sum(isinstance(one, Answer) and one.text == text.strip() for one, text in zip(answers, said, strict=True))
    print(f"  {same} of {len(sampled)} answers are word for word those of generate")
    _explain(fresh, table, different, beams, seconds["+ prefix tree"] * len(items))


def _explain(engine: Engine, table: Table, different: Sequence[WorkItem], beams: int, took: float) -> None:
    statistics = engine.statistics
    parts = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in statistics.seconds.items() if seconds)
    print(f"  prefill {statistics.prefill_tokens} tokens, {statistics.shared_tokens} shared; host time: {parts}")
    name = torch.cuda.get_device_name() if engine.loaded.device.type == "cuda" else ""
    peak = next((peak for key, peak in PEAKS.items() if key in name), None)
    if peak is not None:
        images = {image for item in different for image in (item.query, *item.demonstrations)}
        grids = [engine._vision.grid(table.image_hash(image)) for image in images]
        patches = sum(4 * rows * columns for rows, columns in grids)
        bound = flops(engine, patches, beams, len(different)) / peak
        print(f"  bound {bound:.2f} s at {peak / 1e12:.0f} TFLOP/s, took {took:.2f} s: {bound / took:.0%} of the bound")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=["demo", *SIZES], default="demo")
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--plain", type=int, default=24)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--decode-rows", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        demo = arguments.size == "demo"
        folder = Path(__file__).resolve().parents[1] / "sweep" / "demo" / "vlm" if demo else Path(name)
        if not demo:
            write_model(SIZES[arguments.size], folder, arguments.device)
        size = (28, 28) if demo else SIZES[arguments.size].image
        table = Table(arguments.queries + 200, size)
        for beams in (1, 3):
            settings = VlmSettings.model_validate(
                {
                    "model": {"path": DEMO_MODEL if demo else str(folder)},
                    "images": {"min_pixels": 784},
                    "decoding": {"num_beams": beams, "max_new_tokens": TOKENS},
                    "batching": {"decode_rows": arguments.decode_rows, "vision_cache_gb": 8, "image_threads": 8},
                }
            )
            compare(settings, folder, table, arguments.queries, arguments.plain, arguments.device)


if __name__ == "__main__":
    main()
