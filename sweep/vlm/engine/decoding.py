"""Greedy and beam search over many prompts at once, token for token what transformers' `generate` finds one by one.

Nothing of a checkpoint's generation settings has a say but its end tokens: no sampling, no temperature, no repetition
penalty.

Beam search is that of transformers 5 (`GenerationMixin._beam_search`) with `early_stopping=False`. Its length penalty
goes back to Wu et al. 2016. One step:

1. (1 + number of end tokens) * N candidates are taken. So at least N remain, even if every beam may end.
2. Candidates that end, and are among the best N, enter the finished list. Their score is the sum of log-probabilities
   over length^penalty.
3. The best N candidates that do not end are the next running beams.
4. A row is done when its best running score over the present length is no better than its worst finished score. With
   a penalty above 0 a longer answer might still catch up. transformers stops here all the same, and so does this.

Deviation: rows that are done leave the batch once they are half of it. Their result cannot change any more.

Letters:
    B  rows (prompts)           N  beams
    C  vocabulary               K  candidates of a step
    T  columns of the tail      A  tokens of an answer
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from sweep.settings.vlm import DecodingSettings
from sweep.vlm.engine.tails import Tails

NEVER = -1e9  # added to the score of what must not be chosen, as in transformers; not -inf, whose sums can be NaN

Stopped = Callable[[list[int]], bool]


def decode(
    tails: Tails, settings: DecodingSettings, end_ids: tuple[int, ...], stopped: Stopped | None = None
) -> list[list[int]]:
    """The answer's tokens per row, without the end token.

    Args:
        tails: the prompts.
        settings: length, beams and length penalty. Its stop strings are the caller's.
        end_ids: any of them ends an answer.
        stopped: greedy search only: whether the text of these tokens already holds a stop string, so that the row
            need not go on. Changes no token before the stop string.
    """
    ends = torch.tensor(end_ids, device=tails.last_BD.device)
    if settings.num_beams == 1:
        found = _greedy(tails, settings.max_new_tokens, ends, stopped)
    else:
        found = _beam_search(tails, settings, ends)
    return [_until_end(row, end_ids) for row in found]


def _until_end(tokens: list[int], end_ids: tuple[int, ...]) -> list[int]:
    return next((tokens[:at] for at, token in enumerate(tokens) if token in end_ids), tokens)


def _greedy(tails: Tails, steps: int, ends: Tensor, stopped: Stopped | None) -> list[list[int]]:
    """The most likely token at every step, until the rows' ends or `steps` tokens."""
    found: list[list[int]] = [[] for _ in range(len(tails))]
    rows = list(range(len(tails)))  # which answer each row of the batch writes
    open_rows = set(rows)
    end_ids = set(ends.tolist())
    logits_BC = tails.logits(tails.last_BD)
    for step in range(steps):
        tokens_B = logits_BC.argmax(dim=-1)
        for row, token in zip(rows, tokens_B.tolist(), strict=True):
            found[row].append(token)
            if token in end_ids or (stopped is not None and stopped(found[row])):
                open_rows.discard(row)
        if step + 1 == steps or not open_rows:
            break
        # Dropping rows copies all keys and values, so it waits until it halves the batch.
        if len(open_rows) * 2 <= len(rows):
            kept_B = torch.tensor([at for at, row in enumerate(rows) if row in open_rows], device=tokens_B.device)
            tails.keep(kept_B)
            tokens_B = tokens_B[kept_B]
            rows = [row for row in rows if row in open_rows]
        # One token per row (Q = 1), which sees the whole tail: every column before it is its own answer.
        depth_BQ = torch.full_like(tokens_B, step)[:, None]
        visible = torch.ones(len(rows), 1, tails.columns + 1, dtype=torch.bool, device=tokens_B.device)
        logits_BC = tails.logits(tails.extend(tokens_B[:, None], depth_BQ, visible)[:, 0])
    return found


@dataclass(frozen=True, slots=True)
class _Beams:
    """State of a beam search. Running beams are sorted, best first, and so are finished ones.

    Attributes:
        tokens_BNA, scores_BN: running beams and the sum of their log-probabilities.
        done_BNA, done_scores_BN: finished answers and their scores over length^penalty.
        full_BN: whether a finished place is taken.
        open_B: whether the row can still improve.
        visible_BNT: the tail's columns that each running beam descends from. A step writes N columns, one per beam.
            A beam that changes its parent takes over the parent's row of this mask, and no key is moved.
    """

    tokens_BNA: Tensor
    scores_BN: Tensor
    done_BNA: Tensor
    done_scores_BN: Tensor
    full_BN: Tensor
    open_B: Tensor
    visible_BNT: Tensor

    def of(self, rows_B: Tensor) -> _Beams:
        """These rows alone."""
        return _Beams(*(getattr(self, name)[rows_B] for name in self.__slots__))


def _beam_search(tails: Tails, settings: DecodingSettings, ends: Tensor) -> list[list[int]]:
    """Each row's best finished answer. At the last step every candidate counts as finished."""
    beams = _start(len(tails), settings, ends)
    found: list[list[int]] = [[] for _ in range(len(tails))]
    rows = torch.arange(len(tails), device=ends.device)
    log_probs_BNC = log_softmax(tails.logits(tails.last_BD), dim=-1)[:, None]  # N = 1: the prompt alone
    for step in range(settings.max_new_tokens):
        beams = _step(beams, log_probs_BNC, step, settings, ends)
        last = step + 1 == settings.max_new_tokens
        closed = torch.ones_like(beams.open_B) if last else ~beams.open_B
        over = int(closed.sum())
        if over * 2 >= len(rows):
            for row, tokens in zip(rows[closed].tolist(), beams.done_BNA[closed][:, 0].tolist(), strict=True):
                found[row] = tokens
            if over == len(rows):
                break
            kept_B = (~closed).nonzero()[:, 0]
            tails.keep(kept_B)
            beams, rows = beams.of(kept_B), rows[kept_B]
        tokens_BN = beams.tokens_BNA[:, :, step]
        hidden_BND = tails.extend(tokens_BN, torch.full_like(tokens_BN, step), beams.visible_BNT)
        log_probs_BNC = log_softmax(tails.logits(hidden_BND), dim=-1)
    return found


def _start(count: int, settings: DecodingSettings, ends: Tensor) -> _Beams:
    beams, device = settings.num_beams, ends.device
    tokens = ends[0].expand(count, beams, settings.max_new_tokens).clone()
    nothing = torch.full((count, beams), NEVER, device=device)
    return _Beams(
        tokens_BNA=tokens,
        scores_BN=torch.zeros(count, 1, device=device),  # one beam, the prompt, until the first step
        done_BNA=tokens,
        done_scores_BN=nothing,
        full_BN=torch.zeros_like(nothing, dtype=torch.bool),
        open_B=torch.ones(count, dtype=torch.bool, device=device),
        visible_BNT=torch.zeros(count, 1, 0, dtype=torch.bool, device=device),
    )


def _step(beams: _Beams, log_probs_BNC: Tensor, step: int, settings: DecodingSettings, ends: Tensor) -> _Beams:
    """One token more for every beam (`_get_top_k_continuations`, `_get_running_beams_for_next_iteration`)."""
    wanted, vocabulary = settings.num_beams, log_probs_BNC.shape[2]
    # All N * C continuations in one row, so that beams compete: [B, N * C]. At most N * C can be candidates.
    totals = (log_probs_BNC + beams.scores_BN[:, :, None]).flatten(1)
    candidates = min(max(2, 1 + len(ends)) * wanted, totals.shape[1])
    scores_BK, flat_BK = totals.topk(candidates)
    parents_BK, tokens_BK = flat_BK // vocabulary, flat_BK % vocabulary
    answers_BKA = _chosen(beams.tokens_BNA, parents_BK)
    answers_BKA[:, :, step] = tokens_BK
    ends_BK = torch.isin(tokens_BK, ends) | (step + 1 == settings.max_new_tokens)

    # Ended candidates stay in the list, far below all others: at the last step there is nothing else.
    running_BK = scores_BK + ends_BK * NEVER
    running_BN, picks_BN = running_BK.topk(wanted)
    finished = _finished(beams, answers_BKA, scores_BK, ends_BK, step + 1, settings)
    # `_check_early_stop_heuristic`: a place that is not taken counts as NEVER, so that anything can still enter it.
    worst_BN = torch.where(finished[2], finished[1].amin(dim=1, keepdim=True), NEVER)
    reachable_B = running_BN[:, 0] / (step + 1) ** settings.length_penalty
    parents_BN = parents_BK.gather(1, picks_BN)
    own = torch.eye(wanted, dtype=torch.bool, device=ends.device).expand(len(parents_BN), -1, -1)
    return _Beams(
        tokens_BNA=_chosen(answers_BKA, picks_BN),
        scores_BN=running_BN,
        done_BNA=finished[0],
        done_scores_BN=finished[1],
        full_BN=finished[2],
        open_B=beams.open_B & (reachable_B[:, None] > worst_BN).any(dim=1),
        visible_BNT=torch.cat([_chosen(beams.visible_BNT, parents_BN), own], dim=2),
    )


def _finished(
    beams: _Beams, answers_BKA: Tensor, scores_BK: Tensor, ends_BK: Tensor, length: int, settings: DecodingSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Finished answers, their scores and which places are taken, after candidates of `length` tokens came in.

    As `_update_finished_beams`. Candidates below the best N never finish: they only stand by as running beams.
    """
    wanted = settings.num_beams
    enters_BK = ends_BK & (torch.arange(ends_BK.shape[1], device=ends_BK.device) < wanted)
    entering_BK = scores_BK / length**settings.length_penalty
    entering_BK = entering_BK + ~beams.open_B[:, None] * NEVER + ~enters_BK * NEVER
    best_BN, places_BN = torch.cat([beams.done_scores_BN, entering_BK], dim=1).topk(wanted)
    # Old and new compete for N places. Rows that are closed add NEVER to all newcomers, so theirs stay as they are.
    answers = _chosen(torch.cat([beams.done_BNA, answers_BKA], dim=1), places_BN)
    return answers, best_BN, torch.cat([beams.full_BN, enters_BK], dim=1).gather(1, places_BN)


def _chosen(of_BNX: Tensor, which_BK: Tensor) -> Tensor:
    """Entries of the second dimension: [B, N, X], [B, K] -> [B, K, X]."""
    return of_BNX.gather(1, which_BK[:, :, None].expand(-1, -1, of_BNX.shape[2]))
