"""Padded batches from the flat columns of a `Dataset`, on the CPU or a GPU.

Legend: B queries, N beams, S picks, K candidates, D input width. N and K are the largest of the batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from selector.arrays import Int64Array
from selector.data.dataset import Dataset
from selector.seeds import derive_seed


class Batch(NamedTuple):
    """Queries with their pools and beams. Padding beams point at the first S candidates, which always exist.

    `cand_items_BK` are rows of the embeddings, at padding the pool's first one.
    """

    queries_B: Tensor
    query_BD: Tensor
    cand_items_BK: Tensor
    cand_BKD: Tensor
    cand_mask_BK: Tensor
    beams_BNS: Tensor
    beam_mask_BN: Tensor
    beam_index_BN: Tensor


class TensorData:
    """A `Dataset` as tensors. On the CPU they share the dataset's memory, so nothing here may write to them."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.dataset = dataset
        self.device = device
        self.embeddings_MD = _shared_tensor(dataset.embeddings, device)
        self.query_items_Q = _shared_tensor(dataset.query_items, device)
        self._pool_items = _shared_tensor(dataset.pool_items, device)
        self._pool_starts = _shared_tensor(dataset.pool_starts, device)
        self._beam_picks = _shared_tensor(dataset.beam_picks, device)
        self._beam_starts = _shared_tensor(dataset.beam_starts, device)

    def batch(self, queries: Int64Array) -> Batch:
        """Gather the given query indices (int64 [B], B >= 1) into fresh, padded tensors."""
        queries_B = torch.as_tensor(queries, device=self.device)
        pool_index_BK, cand_mask_BK = _ragged_index(self._pool_starts, queries_B)
        beam_index_BN, beam_mask_BN = self.beams(queries)
        cand_items_BK = self._pool_items[pool_index_BK]
        cand_BKD = rows_of(self.embeddings_MD, cand_items_BK)
        first_S = torch.arange(self._beam_picks.shape[1], device=self.device)
        beams_BNS = torch.where(beam_mask_BN[:, :, None], self._beam_picks[beam_index_BN], first_S)
        query_BD = self.embeddings_MD[self.query_items_Q[queries_B]]
        return Batch(
            queries_B, query_BD, cand_items_BK, cand_BKD, cand_mask_BK, beams_BNS, beam_mask_BN, beam_index_BN
        )  # fmt: skip

    def beams(self, queries: Int64Array) -> tuple[Tensor, Tensor]:
        """Positions of the queries' beams among all beams, and the mask of real ones, as `batch` has them."""
        return _ragged_index(self._beam_starts, torch.as_tensor(queries, device=self.device))

    def candidates(self, queries: Int64Array) -> Tensor:
        """Items in the pools of the given queries, each once, ascending, int64 [U]."""
        index, mask = _ragged_index(self._pool_starts, torch.as_tensor(queries, device=self.device))
        items_U: Tensor = self._pool_items[index[mask]].unique()  # type: ignore[no-untyped-call]
        return items_U

    def in_order(self, queries: Int64Array, batch_size: int) -> Iterator[Batch]:
        """Batches over the queries in the given order."""
        for start in range(0, len(queries), batch_size):
            yield self.batch(queries[start : start + batch_size])


def rows_of(table_MX: Tensor, index_BK: Tensor) -> Tensor:
    """`table_MX[index_BK]`, [B, K, X], in a third of the time."""
    return table_MX.index_select(0, index_BK.reshape(-1)).view(*index_BK.shape, -1)


def _ragged_index(starts: Tensor, rows_B: Tensor) -> tuple[Tensor, Tensor]:
    """Flat positions of ragged rows and the mask of real ones, both [B, longest]. Padding is the row's first one."""
    first_B = starts[rows_B]
    length_B = starts[rows_B + 1] - first_B
    offset = torch.arange(int(length_B.max()), device=starts.device)
    mask = offset < length_B[:, None]
    return first_B[:, None] + torch.where(mask, offset, 0), mask


def _shared_tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    with warnings.catch_warnings():
        # Arrays from Ray's object store are read-only. We keep that promise ourselves.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)


class EpochNoise:
    """The randomness of one epoch: order of the queries and dropout masks per query, independent of batching."""

    def __init__(self, queries: Int64Array, sites: int, hidden: int, dropout: float, *labels: object) -> None:
        generator = torch.Generator().manual_seed(derive_seed(*labels))
        self.order = queries[torch.randperm(len(queries), generator=generator).numpy()]
        self._masks_QXH: Tensor | None = None
        if dropout > 0:
            keep = torch.rand(len(queries), sites, hidden, generator=generator) >= dropout
            self._masks_QXH, self._scale = keep, 1 / (1 - dropout)
            self._row = torch.zeros(int(queries.max()) + 1, dtype=torch.int64)
            self._row[torch.from_numpy(queries)] = torch.arange(len(queries))

    def masks(self, batch: Batch) -> Tensor | None:
        """Scaled dropout masks [B, X, H] of a batch's queries, or None without dropout."""
        if self._masks_QXH is None:
            return None
        masks = self._masks_QXH[self._row[batch.queries_B.cpu()]]
        return masks.to(batch.query_BD.device, batch.query_BD.dtype) * self._scale
