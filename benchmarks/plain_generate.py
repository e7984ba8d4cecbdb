"""The usual ways: `generate` of transformers prompt by prompt, and over left-padded batches with cached features."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from transformers import Qwen2VLImageProcessorPil

from benchmarks.vlm_models import Pair
from benchmarks.vlm_work import Table
from sweep.demo.model import PREPROCESSOR
from sweep.settings.vlm import VlmSettings
from sweep.vlm.prompts import PromptRenderer
from sweep.vlm.work import WorkItem


@dataclass(frozen=True)
class Embedded:
    """A prompt with its images in place: ids [L], embeds [L, D], positions [3, L]."""

    ids: Tensor
    embeds: Tensor
    positions: Tensor


class Plain:
    """Asks the untouched model of a pair, with every generation setting pinned."""

    def __init__(self, pair: Pair, settings: VlmSettings) -> None:
        self.model, self.tokenizer = pair.plain, pair.loaded.tokenizer
        self.device = pair.loaded.device
        self.settings = settings
        self.limits = {"shortest_edge": settings.images.min_pixels, "longest_edge": settings.images.max_pixels}
        processor: Any = Qwen2VLImageProcessorPil
        self.processor = processor(**PREPROCESSOR | {"size": dict(self.limits)})
        self.renderer = PromptRenderer(settings.prompt, self.tokenizer)

    def texts(self, table: Table, items: Sequence[WorkItem]) -> list[str]:
        """Answers, prompt by prompt, from the encoded images on."""
        return [self.text(self.answer(table, item)) for item in items]

    def answer(self, table: Table, item: WorkItem) -> list[int]:
        """Tokens of one answer, from the encoded images on."""
        ids, pixels = self.inputs(table, item)
        tokens: list[int] = self._generate(**ids, **pixels)[0, ids["input_ids"].shape[1] :].tolist()
        return tokens

    def text(self, tokens: Sequence[int]) -> str:
        """An answer's text up to the end of the turn."""
        end = self.model.generation_config.eos_token_id
        ends = end if isinstance(end, list) else [end]
        upto = next((at for at, token in enumerate(tokens) if token in ends), len(tokens))
        return str(self.tokenizer.decode(tokens[:upto], skip_special_tokens=True)).strip()

    def last_logits(self, table: Table, item: WorkItem) -> Tensor:
        """Logits of the first token of an answer, float32 [C]."""
        ids, pixels = self.inputs(table, item)
        self.model.model.rope_deltas = None
        logits: Tensor = self.model(**ids, **pixels, logits_to_keep=1).logits[0, -1]
        return logits.float()

    def inputs(self, table: Table, item: WorkItem) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Token ids with their mask and kinds; pixels with their grids."""
        prompt = self.renderer.render(item, table)
        pixels = self._pixels(table, prompt.images)
        return self._ids(prompt.text, pixels["image_grid_thw"]), pixels

    def _ids(self, text: str, grids: Tensor) -> dict[str, Tensor]:
        counts = iter((grids.prod(-1) // 4).tolist())
        image_token = self.model.config.image_token_id
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        spread = [one for token in ids for one in [token] * (next(counts) if token == image_token else 1)]
        input_ids = torch.tensor([spread], device=self.device)
        kinds = (input_ids == image_token).int()
        mask = torch.ones_like(input_ids)
        return {"input_ids": input_ids, "attention_mask": mask, "mm_token_type_ids": kinds}

    def features(self, table: Table, images: Sequence[int]) -> dict[int, tuple[Tensor, Tensor]]:
        """Features and grids of images by item, each computed once."""
        found = {}
        for image in images:
            pixels = self._pixels(table, [image])
            output = self.model.model.get_image_features(**pixels)
            found[image] = (output.pooler_output[0], pixels["image_grid_thw"])
        return found

    def embed(self, table: Table, item: WorkItem, features: dict[int, tuple[Tensor, Tensor]]) -> Embedded:
        """A prompt with cached features in place."""
        prompt = self.renderer.render(item, table)
        grids = torch.cat([features[image][1] for image in prompt.images])
        ids = self._ids(prompt.text, grids)
        mask = ids["mm_token_type_ids"].bool()[..., None]
        together = torch.cat([features[image][0] for image in prompt.images])
        embeds = self.model.get_input_embeddings()(ids["input_ids"]).masked_scatter(mask, together)
        positions, _ = self.model.model.get_rope_index(ids["input_ids"], ids["mm_token_type_ids"], grids)
        return Embedded(ids["input_ids"][0], embeds[0], positions[:, 0])

    def answer_padded(self, batch: Sequence[Embedded]) -> list[list[int]]:
        """Tokens of the answers of one left-padded batch."""
        longest = max(len(one.ids) for one in batch)
        gaps = [longest - len(one.ids) for one in batch]
        filler = self.model.generation_config.pad_token_id
        pairs = list(zip(batch, gaps, strict=True))
        generated = self._generate(
            input_ids=torch.stack([pad(one.ids, (gap, 0), value=filler) for one, gap in pairs]),
            attention_mask=torch.stack([pad(torch.ones_like(one.ids), (gap, 0)) for one, gap in pairs]),
            inputs_embeds=torch.stack([pad(one.embeds, (0, 0, gap, 0)) for one, gap in pairs]),
            position_ids=torch.stack([pad(one.positions, (gap, 0)) for one, gap in pairs], dim=1),
        )
        answers: list[list[int]] = generated[:, longest:].tolist()
        return answers

    def _generate(self, **inputs: Tensor) -> Any:  # noqa: ANN401 - a tensor of tokens, prompts included
        decoding = self.settings.decoding
        options = {"temperature": None, "top_p": None, "top_k": None, "repetition_penalty": 1.0}
        return self.model.generate(
            **inputs,
            max_new_tokens=decoding.max_new_tokens,
            num_beams=decoding.num_beams,
            do_sample=False,
            early_stopping=False,
            **options,
        )

    def _pixels(self, table: Table, images: Sequence[int]) -> Any:  # noqa: ANN401 - transformers' BatchFeature
        pictures = [Image.open(io.BytesIO(table.image_bytes(image))).convert("RGB") for image in images]
        return self.processor(images=pictures, size=self.limits, return_tensors="pt").to(self.device)
