"""What the layers of both towers have in common, with few passes over memory.

transformers turns queries and keys in five passes, each into new memory, and adds the result of each part of a layer
in another one. On a CPU such passes took a third of the time, on a GPU each is a launch. Here states are turned in
place, and the last product of a part adds to the hidden states by itself.

Letters:
    T  tokens                   C  width of the hidden states
    D  width of a head
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def turn(states: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotary positions (Su et al. 2021), in place: number i of the first half of D turns with number i of the second.

    Args:
        states: queries or keys, [T, ..., D]; may be a view.
        cos: of the angles, [T, ..., D / 2], with ones in between.
        sin: likewise.
    """
    first, second = states.chunk(2, dim=-1)
    turned = (first * cos).addcmul_(second, sin, value=-1)  # in the precision of the angles
    second.copy_((second * cos).addcmul_(first, sin))
    first.copy_(turned)


def add_product(hidden_TC: Tensor, states: Tensor, linear: nn.Linear) -> None:
    """Add linear(states) to the hidden states."""
    hidden_TC.addmm_(states, linear.weight.t())
    if linear.bias is not None:
        hidden_TC.add_(linear.bias)


def add_gated(hidden_TC: Tensor, normed_TC: Tensor, feed_forward: Any) -> None:  # noqa: ANN401 - transformers' module
    """Add down(act(gate(normed)) * up(normed)), the gated feed-forward part of a layer (Shazeer 2020)."""
    gate = feed_forward.act_fn(feed_forward.gate_proj(normed_TC))
    add_product(hidden_TC, gate.mul_(feed_forward.up_proj(normed_TC)), feed_forward.down_proj)
