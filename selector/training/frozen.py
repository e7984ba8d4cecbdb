"""What a policy that does not change computes once, instead of for every query and batch.

Dropout begins behind the first attention. So neither the candidates' projections nor the first attention of a query
depend on the epoch. The projections are made once per item, although an item is in many pools.

Everything is computed in a fixed order and in parts of a fixed size. So a stage that was restored keeps the same bits.

Legend: B queries of a batch, Q queries of the stage, U items in their pools, M items of the data, N beams, S picks,
K candidates, H hidden width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selector.arrays import Int64Array
from selector.batches import Batch, TensorData, rows_of
from selector.model import Encoding, PointerSelector, QueryStart

LARGEST_TABLE = 128 * 2**20
"""Bytes that one table may take: 131,072 rows at 256 hidden units. What would be larger is computed for every batch."""
ITEMS_AT_ONCE = 2048
QUERIES_AT_ONCE = 32


class PoolRows:
    """Which row of a table belongs to an item or to a query; the same for all tables of a stage."""

    def __init__(self, data: TensorData, queries: Int64Array) -> None:
        self.data = data
        self.queries = queries
        self.items_U = data.candidates(queries)
        self.of_item_M = torch.zeros(len(data.embeddings_MD), dtype=torch.int64, device=data.device)
        self.of_item_M[self.items_U] = torch.arange(len(self.items_U), device=data.device)
        self.of_query = torch.zeros(data.dataset.queries, dtype=torch.int64, device=data.device)
        self.of_query[torch.as_tensor(queries, device=data.device)] = torch.arange(len(queries), device=data.device)


class CandidateTable:
    """Projections of all candidates by a selector whose projections do not change. Made when first asked."""

    def __init__(self, model: PointerSelector, rows: PoolRows) -> None:
        self._model = model
        self._rows = rows
        self._unit_UH: Tensor | None = None
        self._fits = _fits(len(rows.items_U), model)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """`PointerSelector.project` of a batch's candidates, [B, K, H]."""
        if not self._fits:
            return self._model.project(batch.cand_BKD)
        if self._unit_UH is None:
            items_U, embeddings_MD = self._rows.items_U, self._rows.data.embeddings_MD
            self._unit_UH = torch.cat(
                [
                    self._model.project(embeddings_MD[items_U[first : first + ITEMS_AT_ONCE]])
                    for first in range(0, len(items_U), ITEMS_AT_ONCE)
                ]
            )
        return rows_of(self._unit_UH, self._rows.of_item_M[batch.cand_items_BK])


class FrozenPolicy:
    """A selector that does not change, as the loss needs it.

    Args:
        model: not to be changed from here on.
        rows: of the stage.
        epochs: in how many epochs it is asked. The first attention is kept if in more than one.
    """

    def __init__(self, model: PointerSelector, rows: PoolRows, epochs: int) -> None:
        self.model = model
        self._rows = rows
        self._candidates = CandidateTable(model, rows)
        self._keeps_queries = epochs > 1 and _fits(len(rows.queries), model)
        self._start_QH: QueryStart | None = None

    @torch.no_grad()
    def log_probs(self, batch: Batch, dropout_BXH: Tensor | None) -> Tensor:
        """`PointerSelector.step_log_probs` of a batch's beams, [B, N, S, K], without a gradient."""
        start = self._start(batch)
        query_BH = self.model.finish(start, batch.cand_BKD, batch.cand_mask_BK, dropout_BXH)
        encoding = Encoding(query_BH, self._candidates(batch), batch.cand_mask_BK)
        return self.model.step_log_probs(encoding, batch.beams_BNS)

    def _start(self, batch: Batch) -> QueryStart:
        if not self._keeps_queries:
            return self.model.attend(batch.query_BD, batch.cand_BKD, batch.cand_mask_BK)
        if self._start_QH is None:
            starts = [
                self.model.attend(part.query_BD, part.cand_BKD, part.cand_mask_BK)
                for part in self._rows.data.in_order(self._rows.queries, QUERIES_AT_ONCE)
            ]
            self._start_QH = QueryStart(*(torch.cat(parts) for parts in zip(*starts, strict=True)))
        rows_B = self._rows.of_query[batch.queries_B]
        return QueryStart(*(kept_QH[rows_B] for kept_QH in self._start_QH))


def equal_weights(one: PointerSelector, other: PointerSelector) -> bool:
    """Whether two selectors of one architecture are equal to the bit. NaN equals nothing."""
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def _fits(rows: int, model: PointerSelector) -> bool:
    weight = model.query_proj.weight
    return rows * model.config.hidden * weight.element_size() <= LARGEST_TABLE
