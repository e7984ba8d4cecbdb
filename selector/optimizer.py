"""AdamW with gradient clipping and a learning-rate schedule. Its whole state is a flat dict of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from selector.settings import OptimizerSettings, Schedule


def learning_rate(settings: OptimizerSettings, step: int, total_steps: int) -> float:
    """Rate of update `step` (from 0): linear warm-up over the first `warmup_fraction`, then constant or cosine to 0."""
    warmup = round(settings.warmup_fraction * total_steps)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    if settings.schedule is Schedule.CONSTANT:
        return settings.lr
    progress = (step - warmup) / max(total_steps - warmup, 1)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * progress))


class StageOptimizer:
    """One stage's optimiser (Loshchilov & Hutter 2019). Matrices decay. Biases and norms do not."""

    def __init__(self, model: nn.Module, settings: OptimizerSettings, total_steps: int) -> None:
        self._settings = settings
        self._total_steps = total_steps
        self._named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        groups = [
            {"params": [p for p in self._named.values() if p.dim() > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in self._named.values() if p.dim() <= 1], "weight_decay": 0.0},
        ]
        # Fused: one pass over memory instead of ten, a quarter of the time on a CPU.
        self._adamw = torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.lr, fused=True)
        self.updates = 0

    @property
    def lr(self) -> float:
        """Rate of the next update."""
        return learning_rate(self._settings, self.updates, self._total_steps)

    def step(self, loss: Tensor) -> Tensor:
        """Backward pass and one update. Returns the gradient norm before clipping (scalar)."""
        self._adamw.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        limit = self._settings.grad_clip
        norm = nn.utils.clip_grad_norm_(self._named.values(), math.inf if limit is None else limit)
        for group in self._adamw.param_groups:
            group["lr"] = self.lr
        self._adamw.step()
        self.updates += 1
        return norm

    def state(self) -> dict[str, Tensor]:
        """Copies of `updates` and of the moments of every parameter that has them."""
        tensors = {"updates": torch.tensor(self.updates)}
        for name, parameter in self._named.items():
            for key, value in self._adamw.state[parameter].items():
                tensors[f"{key}/{name}"] = value.detach().clone()
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from `state`. Moments that it does not have are forgotten."""
        self._adamw.state.clear()
        self.updates = int(tensors["updates"])
        for key_name, value in tensors.items():
            if "/" in key_name:
                key, name = key_name.split("/", 1)
                parameter = self._named[name]
                self._adamw.state[parameter][key] = value.clone().to(parameter.device)
