"""A few tokens after each of several prompts: beams while decoding, ground-truth answers while scoring.

All branches of a row share its prefix: they are queries of the same row, and a mask says which of the tail's columns
each of them descends from. So a prefix is read once for all beams, and beams change places without moving a key.
transformers' own cache holds a copy of the prefix per beam and reorders all keys after every step.

Letters:
    B  rows (prompts)           Q  new tokens per row (beams, or tokens of answers)
    T  columns of the tail      K  all columns: prefix and tail
    D  width                    G  heads per key/value head
    C  vocabulary
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sweep.vlm.engine.attention import TailLayout
from sweep.vlm.engine.devices import to_device
from sweep.vlm.engine.key_values import RowKeyValues
from sweep.vlm.engine.loading import Loaded
from sweep.vlm.engine.prefill import Prefilled


class Tails:
    """Rows that are ready to go on.

    Attributes:
        last_BD: last hidden states of the prompts.
    """

    def __init__(self, loaded: Loaded, rows: Sequence[Prefilled], capacity: int) -> None:
        self._loaded = loaded
        self._states = RowKeyValues([row.prefix for row in rows], capacity)
        text = loaded.model.config.text_config
        self._groups = text.num_attention_heads // text.num_key_value_heads
        self._positions_B = to_device(np.array([row.next_position for row in rows]), loaded.device)
        self.last_BD = torch.stack([row.last_D for row in rows])

    def __len__(self) -> int:
        return len(self.last_BD)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits in float32: [..., D] -> [..., C]."""
        logits: Tensor = self._loaded.model.lm_head(hidden)
        return logits.float()

    def extend(self, tokens_BQ: Tensor, depth_BQ: Tensor, visible_BQT: Tensor) -> Tensor:
        """Feed tokens behind the tail so far.

        Args:
            tokens_BQ: int64.
            depth_BQ: int64, how many tokens of the answer precede each.
            visible_BQT: bool, the tail's columns each token attends to, itself (the last Q columns) included.

        Returns:
            Hidden states [B, Q, D].
        """
        language = self._loaded.model.model.language_model
        rows, queries = tokens_BQ.shape
        positions_BQ = self._positions_B[:, None] + depth_BQ
        prefix_BQK = self._states.prefix_mask_BK[:, None].expand(-1, queries, -1)
        # The prefix is visible to every new token, apart from the padding of shorter rows.
        visible_BQK = torch.cat([prefix_BQK, visible_BQT], dim=2)
        embedded = language.embed_tokens(tokens_BQ)
        # `TailLayout` makes G * Q query rows of Q tokens, head after head: the mask is repeated in the same order.
        mask = torch.zeros(visible_BQK.shape, dtype=embedded.dtype, device=embedded.device)
        mask = mask.masked_fill_(~visible_BQK, -torch.inf).repeat(1, self._groups, 1)[:, None]
        hidden: Tensor = language(
            inputs_embeds=embedded,
            position_ids=positions_BQ.expand(3, rows, queries),  # text: time, row and column advance together
            past_key_values=self._states,
            layout=TailLayout(mask),
        )
        self._states.advance(queries)
        return hidden.view(rows, queries, -1)

    @property
    def columns(self) -> int:
        """Columns of the tail so far."""
        return self._states.tail

    def rewind(self) -> None:
        """Back to the prompts alone."""
        self._states.rewind()

    def keep(self, rows_B: Tensor) -> None:
        """Only these rows (int64) go on."""
        self._states.keep(rows_B)
        self._positions_B = self._positions_B[rows_B]
        self.last_BD = self.last_BD[rows_B]
