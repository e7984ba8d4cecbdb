"""First stage: the vision tower learns shape, colour and texture through three heads that are thrown away."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from selector.arrays import Int64Array
from selector.seeds import random_stream
from sweep.demo.concepts import COLOURS, SHAPES, TEXTURES, concept_parts, held_out
from sweep.demo.drawing import draw
from sweep.demo.model import WIDTH, DemoModel, image_tokens

BATCH, RATE, WARM_UP = 192, 2e-3, 100
Report = Callable[[str], None]


class AttributeHead(nn.Module):
    """Logits of shape, colour and texture from a vector of the model's width."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [len(SHAPES), len(COLOURS), len(TEXTURES)]
        self.out = nn.Linear(WIDTH, sum(self.sizes))

    def loss(self, vectors: Tensor, concepts: Int64Array) -> Tensor:
        """Summed cross-entropy. `vectors` is float32 [B, WIDTH], `concepts` int64 [B]."""
        parts = zip(self.out(vectors).split(self.sizes, -1), concept_parts(concepts), strict=True)
        losses = [nn.functional.cross_entropy(logits, torch.from_numpy(part)) for logits, part in parts]
        return torch.stack(losses).sum()

    def right(self, vectors: Tensor, concepts: Int64Array) -> list[float]:
        """Share of right predictions for shape, colour and texture."""
        parts = zip(self.out(vectors).split(self.sizes, -1), concept_parts(concepts), strict=True)
        return [(logits.argmax(-1) == torch.from_numpy(part)).float().mean().item() for logits, part in parts]


def train_vision(model: DemoModel, steps: int, seed: int, report: Report) -> None:
    """Train the vision tower in place. Images are fresh in every step."""
    rng = random_stream(seed, 1)
    head = AttributeHead()
    tower = model.model.visual
    parameters = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    seen = np.flatnonzero(~held_out())
    for step in range(steps):
        concepts = rng.choice(seen, size=BATCH)
        loss = head.loss(image_tokens(model, draw(concepts, rng)), concepts)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            report(f"vision step {step + 1} loss {loss.item():.3f} {_check(model, head)}")


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / WARM_UP)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


@torch.inference_mode()
def _check(model: DemoModel, head: AttributeHead) -> str:
    rng = np.random.default_rng(99)
    hidden = held_out()
    words = []
    for name, mask in (("seen", ~hidden), ("held out", hidden)):
        concepts = rng.choice(np.flatnonzero(mask), size=400)
        right = head.right(image_tokens(model, draw(concepts, rng)), concepts)
        words.append(f"{name} " + " ".join(f"{share:.3f}" for share in right))
    return ", ".join(words)
