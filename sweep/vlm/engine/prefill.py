"""One forward pass over many prompts, shared beginnings computed once.

The tokens of a batch lie in one packed sequence (`packing.pack`). Attention follows each prompt's path (`attention`).
Nothing is padded in the linear layers, which are most of the work. Only attention pads, within blocks of segments of
similar size. A prompt that shares nothing is causal attention as ever. A token's state depends on its path alone, so a
shared token has the same state for every prompt that goes through it (prefix caching: Zheng et al. 2024, SGLang).

Letters:
    S  packed tokens            P  prompts
    D  width                    E  segments of a block
    Q  queries of a segment     K  keys of a segment
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selector.arrays import Int64Array
from sweep.vlm.engine.attention import Block, PackedLayout
from sweep.vlm.engine.devices import to_device
from sweep.vlm.engine.key_values import PackedKeyValues, Prefix
from sweep.vlm.engine.language import Ends
from sweep.vlm.engine.loading import Loaded
from sweep.vlm.engine.packing import Packed, TokenRow, pack

_SLACK = 1 << 14  # entries of padded score matrices that are cheaper than another call
_MASK_ENTRIES = 1 << 26  # of one block's mask
_ALIGNED = 16  # keys of a masked block: what GPU kernels want
_PIECE = 256  # queries of a segment that are computed together; those before them need fewer keys


@dataclass(frozen=True, slots=True, eq=False)
class Prefilled:
    """A prompt that has been read.

    Attributes:
        last_D: the language model's last hidden state, from which the first token follows.
        next_position: of the first generated token.
    """

    prefix: Prefix
    last_D: Tensor
    next_position: int


def prefill(loaded: Loaded, rows: Sequence[TokenRow], features: Mapping[str, Tensor]) -> tuple[list[Prefilled], Packed]:
    """Read prompts.

    Args:
        loaded: the model.
        rows: different prompts, sorted by `TokenRow.key`.
        features: image features by key, [tokens, D] each.

    Returns:
        One record per prompt, in their order, and how they were packed.
    """
    packed = pack(rows)
    states, last_PD = _forward(loaded, packed, features)
    read = [
        Prefilled(Prefix(states, path), last, row.next_position)
        for path, last, row in zip(packed.paths, last_PD.unbind(), rows, strict=True)
    ]
    return read, packed


def _forward(loaded: Loaded, packed: Packed, features: Mapping[str, Tensor]) -> tuple[PackedKeyValues, Tensor]:
    """Keys and values of all packed tokens, and the last state of each prompt, [P, D]."""
    language, device = loaded.model.model.language_model, loaded.device
    embedded_SD = language.embed_tokens(to_device(packed.tokens, device))
    if packed.images:
        image_places = np.flatnonzero(packed.tokens == loaded.model.config.image_token_id)
        # `packed.images` names the images in the order of their tokens, so features fill the marks from left to right.
        embedded_SD[to_device(image_places, device)] = torch.cat([features[key] for key in packed.images])
    states = PackedKeyValues()
    lengths = np.array([len(path) for path in packed.paths])
    last_PD: Tensor = language(
        inputs_embeds=embedded_SD[None],
        position_ids=to_device(packed.positions[:, None], device),  # [3, 1, S]
        past_key_values=states,
        layout=layout_of(packed.paths, np.asarray(packed.shared), device, embedded_SD.dtype),
        ends=Ends(
            to_device(np.array([path[-1] for path in packed.paths]), device),
            layout_of(packed.paths, lengths - 1, device, embedded_SD.dtype),
        ),
    )
    return states, last_PD


def layout_of(
    paths: Sequence[Int64Array], shared: Int64Array, device: torch.device, dtype: torch.dtype
) -> PackedLayout:
    """Who attends to whom, as a few padded blocks.

    Args:
        paths: of each prompt, int64 [L].
        shared: int64 [prompts]. The queries of a prompt are its tokens from there on. They are numbered through.
        device: where the layout is needed.
        dtype: of masks.
    """
    pieces = [piece for path, start in zip(paths, shared.tolist(), strict=True) for piece in _pieces(path, start)]
    lengths = np.array([len(path) for path, _ in pieces])
    shared = np.array([start for _, start in pieces])
    own = lengths - shared
    first = np.cumsum(own) - own  # the number of each piece's first query
    blocks, places, results = [], 0, np.empty(own.sum(), dtype=np.int64)
    for group in block_groups(own, lengths):
        blocks.append(_block([pieces[one][0] for one in group], first[group], shared[group], device, dtype))
        widest = int(own[group].max())
        for at, one in enumerate(group.tolist()):
            begin = places + at * widest
            results[first[one] : first[one] + own[one]] = np.arange(begin, begin + own[one])
        places += len(group) * widest
    return PackedLayout(tuple(blocks), to_device(results, device))


def _pieces(path: Int64Array, shared: int) -> list[tuple[Int64Array, int]]:
    """A long segment as several, of which each but the last has a shorter path. A causal kernel needs no such help."""
    own = len(path) - shared
    count = -(-own // _PIECE) if shared else 1
    ends = [shared + own * number // count for number in range(count + 1)]
    return [(path[:end], start) for start, end in itertools.pairwise(ends)]


def block_groups(queries: Int64Array, keys: Int64Array) -> list[Int64Array]:
    """Segments that are computed together: of similar numbers of queries and keys, so that little is padded.

    Greedy over segments from many keys to few. One joins the block before it if the padded scores (segments x most
    queries x most keys) stay within 5/4 of those that are needed, plus a slack that is worth a saved call.

    Args:
        queries: int64 [segments], new tokens of each.
        keys: int64 [segments], tokens of its whole path.
    """
    groups: list[list[int]] = []
    widest_queries = widest_keys = exact = 0
    for segment in np.lexsort((queries, keys))[::-1].tolist():
        now = int(queries[segment] * keys[segment])
        wide_queries, wide_keys = max(widest_queries, int(queries[segment])), max(widest_keys, int(keys[segment]))
        padded = (len(groups[-1]) + 1) * wide_queries * wide_keys if groups else 0
        if groups and padded <= min(_MASK_ENTRIES, (exact + now) * 5 // 4 + _SLACK):
            groups[-1].append(segment)
            widest_queries, widest_keys, exact = wide_queries, wide_keys, exact + now
        else:
            groups.append([segment])
            widest_queries, widest_keys, exact = int(queries[segment]), int(keys[segment]), now
    return [np.asarray(group) for group in groups]


def _block(
    paths: Sequence[Int64Array],
    first_E: Int64Array,
    shared_E: Int64Array,
    device: torch.device,
    dtype: torch.dtype,
) -> Block:
    """One block. Queries are the ends of paths, so a query's place in its path says which keys it may see."""
    lengths_E = np.array([len(path) for path in paths])
    own_E = lengths_E - shared_E
    causal = not shared_E.any()  # then queries are all keys, and sdpa's causal kernel needs no mask
    widest = int(lengths_E.max())
    keys = np.zeros((len(paths), widest if causal else -(-widest // _ALIGNED) * _ALIGNED), dtype=np.int64)
    for at, path in enumerate(paths):
        keys[at, : len(path)] = path
    # Padding asks for a segment's last query again.
    queries = first_E[:, None] + np.minimum(np.arange(own_E.max()), own_E[:, None] - 1)
    mask = None
    if not causal:
        # Query q of a segment stands at place shared + q of its path and sees the keys up to there: [E, Q].
        # Padded keys stand behind every real query. Padded queries see key 0, so that no row of the softmax is empty.
        last_EQ = to_device(shared_E, device)[:, None] + torch.arange(queries.shape[1], device=device)
        hidden_EQK = torch.arange(keys.shape[1], device=device) > last_EQ[:, :, None]
        mask = torch.zeros(hidden_EQK.shape, dtype=dtype, device=device).masked_fill_(hidden_EQK, -torch.inf)[:, None]
    return Block(to_device(queries, device), to_device(keys, device), mask)
