"""What a selector costs by its configuration: FLOPs of its matrix products, per query. Pure arithmetic.

A FLOP is one multiplication or one addition. Letters as in `selector.model`.
"""

from __future__ import annotations

from selector.config import SelectorConfig

BACKWARD = 2
"""Backward costs at most twice the forward pass: the gradients of weights and of inputs. Embeddings need none."""


def forward_flops(config: SelectorConfig, candidates: float, beams: float, picks: int) -> float:
    """FLOPs of encoding one query with its pool and scoring its beams along their own picks.

    The product that folds both projections of the candidates is made once per batch, and is left out.

    Args:
        config: of the selector.
        candidates: K, in the pool.
        beams: N, of the query.
        picks: S, of each beam.
    """
    D, H, A = config.width, config.hidden, config.heads
    layer = 4 * H * H + 2 * A * D * H + 2 * A * D * candidates
    encode = D * H + config.layers * layer + H * H + candidates * D * H
    step = H * candidates + (2 * H * H if config.decoder != "static" else 0)
    moved = 0 if config.decoder == "static" else (picks - 1) * beams * step
    return 2.0 * (encode + H * candidates + moved)


def rce_flops(config: SelectorConfig, candidates: float, beams: float, picks: int) -> float:
    """At most so many FLOPs for one query in one epoch of RCE: forward and backward."""
    return (1 + BACKWARD) * forward_flops(config, candidates, beams, picks)


def grpo_flops(config: SelectorConfig, candidates: float, beams: float, picks: int) -> float:
    """The same in GRPO, with the reference and the old policy beside it."""
    return (3 + BACKWARD) * forward_flops(config, candidates, beams, picks)
