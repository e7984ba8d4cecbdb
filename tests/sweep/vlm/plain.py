"""The usual way, to compare with: transformers' own processor and `generate`, one prompt at a time."""

from __future__ import annotations

import io
from typing import Any

import torch
from PIL import Image
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from sweep.settings.vlm import VlmSettings
from sweep.vlm.prompts import PromptRenderer
from sweep.vlm.work import WorkItem


class Plain:
    """Loads the checkpoint afresh, with transformers' sdpa attention."""

    def __init__(self, settings: VlmSettings) -> None:
        folder = settings.model.path
        self.settings = settings
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.limits = {"shortest_edge": settings.images.min_pixels, "longest_edge": settings.images.max_pixels}
        self.processor = Qwen2VLImageProcessorPil.from_pretrained(folder, size=dict(self.limits))
        self.renderer = PromptRenderer(settings.prompt, self.tokenizer)
        self.image_token = self.model.config.image_token_id
        self.ends = self.model.generation_config.eos_token_id

    def inputs(self, table: Any, item: WorkItem) -> dict[str, torch.Tensor]:
        prompt = self.renderer.render(item, table)
        images = [Image.open(io.BytesIO(table.image_bytes(image))).convert("RGB") for image in prompt.images]
        pixels = self.processor(images=images, size=self.limits, return_tensors="pt")  # else the file's limits win
        ids: list[int] = []
        counts = (pixels["image_grid_thw"].prod(-1) // 4).tolist()
        for token in self.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]:
            ids += [token] * (counts.pop(0) if token == self.image_token else 1)
        input_ids = torch.tensor([ids])
        return {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "mm_token_type_ids": (input_ids == self.image_token).int(),
            **pixels,
        }

    @torch.inference_mode()
    def tokens(self, table: Any, item: WorkItem) -> list[int]:
        inputs = self.inputs(table, item)
        decoding = self.settings.decoding
        generated = self.model.generate(
            **inputs,
            max_new_tokens=decoding.max_new_tokens,
            num_beams=decoding.num_beams,
            length_penalty=decoding.length_penalty,
            do_sample=False,
            early_stopping=False,
            repetition_penalty=1.0,
            temperature=None,
            top_p=None,
            top_k=None,
        )[0, inputs["input_ids"].shape[1] :].tolist()
        return next((generated[:at] for at, token in enumerate(generated) if token in self.ends), generated)

    def text(self, table: Any, item: WorkItem) -> str:
        return str(self.tokenizer.decode(self.tokens(table, item), skip_special_tokens=True)).strip()

    @torch.inference_mode()
    def answer_probability(self, table: Any, item: WorkItem, answer: list[int]) -> float:
        """Without any cache: one forward pass over prompt and answer."""
        inputs = self.inputs(table, item)
        length = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([answer], dtype=torch.int64)], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == self.image_token).int()
        self.model.model.rope_deltas = None
        probabilities = self.model(**inputs).logits[0, length - 1 :].double().softmax(-1)
        likely = 1.0
        for at, token in enumerate(answer):
            likely *= float(probabilities[at, token])
        return likely * float(probabilities[len(answer), self.ends].sum())
