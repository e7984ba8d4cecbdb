"""Attention of one query over its candidates.

Legend: B queries, K candidates, D input width, H hidden width, A heads.

Attention is computed with the key and value projections folded into the query side. For one query over K candidates,
`q . (W_k c) = (W_k^T q) . c` and `sum_k a_k W_v c_k = W_v sum_k a_k c_k`. So no K x H x H product is ever made. The
key bias adds the same number to every score and drops out of the softmax. The same folding takes `input_proj` in:
candidates are touched by exactly one dense product, `cand_proj @ input_proj`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CrossAttention(nn.Module):
    """Multi-head attention of one query over its candidates, laid out as `torch.nn.MultiheadAttention` stores it."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden))
        self.out_proj = nn.Linear(hidden, hidden)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, state_BH: Tensor, items_BKD: Tensor, mask_BK: Tensor, input_weight_HD: Tensor) -> Tensor:
        """Attend from the query state to the candidates' raw embeddings. Returns [B, H].

        Products with a matrix are flattened by hand. Otherwise torch chooses between one product and a batch of them,
        by whether the matrix requires a gradient. A frozen policy could then differ in the last bit.
        """
        B, H = state_BH.shape
        A = self.heads
        q_weight, k_weight, v_weight = self.in_proj_weight.chunk(3)
        q_bias, _, v_bias = self.in_proj_bias.chunk(3)
        q_BAh = functional.linear(state_BH, q_weight, q_bias).view(B, A, H // A)
        key_BAH = torch.einsum("bah,ahj->baj", q_BAh, k_weight.view(A, H // A, H))
        key_BAD = (key_BAH.reshape(B * A, H) @ input_weight_HD).view(B, A, -1)
        score_BAK = (key_BAD @ items_BKD.transpose(1, 2)) / (H // A) ** 0.5
        weight_BAK = score_BAK.masked_fill(~mask_BK[:, None, :], -torch.inf).softmax(-1)
        pooled_BAD = weight_BAK @ items_BKD
        pooled_BAH = (pooled_BAD.reshape(B * A, -1) @ input_weight_HD.t()).view(B, A, H)
        value_BAh = torch.einsum("baj,ahj->bah", pooled_BAH, v_weight.view(A, H // A, H))
        return self.out_proj(value_BAh.reshape(B, H) + v_bias)  # type: ignore[no-any-return]
