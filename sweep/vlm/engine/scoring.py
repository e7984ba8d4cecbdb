"""How likely the model is to say exactly a given answer: the sum of its tokens' log-probabilities and of the end.

For an answer a_1 ... a_n after a prompt x (the chain rule; teacher forcing, all tokens in one pass):

    log p(answer, end | x) = sum over i of log p(a_i | x, a_1 ... a_(i-1)) + log p(end | x, a_1 ... a_n)

"The end" is any of the model's end tokens, so its probability is their sum. Without the end, `red` would also get the
probability of `red hot`. The answers of a row are branches after its prefix (`tails`): scoring needs no second prefill.

The first token of every answer follows the prompt, whose last state is known. All other tokens, and the end, follow a
token of the answer. So the n tokens of an answer are fed once, and each state predicts what stands behind it.

Letters:
    B  rows (prompts)           Q  tokens of all branches of a row
    T  columns of the tail      M  states whose following token is looked at
    C  vocabulary
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sweep.vlm.engine.devices import to_device
from sweep.vlm.engine.tails import Tails

PASS_TOKENS = 64  # of one row in one forward pass; more answers take several
_LOGIT_ROWS = 512  # states whose logits are held at once

Tokens = tuple[int, ...]


def passes(answers: Sequence[Sequence[Tokens]]) -> list[list[list[Tokens]]]:
    """Answers of each row, split so that no pass has more than `PASS_TOKENS` tokens of a row, one answer at least."""
    split: list[list[list[Tokens]]] = []
    for row, wanted in enumerate(answers):
        at, left = 0, PASS_TOKENS
        for answer in wanted:
            if len(answer) > left and left < PASS_TOKENS:
                at, left = at + 1, PASS_TOKENS
            while len(split) <= at:
                split.append([[] for _ in answers])
            split[at][row].append(answer)
            left -= len(answer)
    return split


def tail_columns(answers: Sequence[Sequence[Tokens]]) -> int:
    """Columns of the tail that scoring needs."""
    return max((sum(map(len, row)) for one in passes(answers) for row in one), default=0)


def log_probabilities(
    tails: Tails, answers: Sequence[Sequence[Tokens]], end_ids: tuple[int, ...]
) -> list[dict[Tokens, float]]:
    """Log p(answer, end | prompt) of each row's answers. The tail is as it was afterwards."""
    found: list[dict[Tokens, float]] = [{} for _ in answers]
    first_BC = tails.logits(tails.last_BD)
    for one in passes(answers):
        for row, scores in enumerate(_pass(tails, one, first_BC, end_ids)):
            found[row].update(scores)
    return found


def _pass(
    tails: Tails, answers: Sequence[Sequence[Tokens]], first_BC: Tensor, end_ids: tuple[int, ...]
) -> list[dict[Tokens, float]]:
    """Scores of one pass. Each row's answers lie side by side in its columns and do not see each other."""
    device = first_BC.device
    width = max(sum(map(len, row)) for row in answers)
    tokens = np.zeros((len(answers), width), dtype=np.int64)
    depth = np.zeros_like(tokens)  # place within the answer: positions count on from the prompt in every branch
    branch = np.full((len(answers), width), -1)  # which answer a column belongs to; -1 is padding
    starts: list[tuple[int, int]] = []  # what follows the prompt: row, token (-1: the end)
    inner: list[tuple[int, int, int]] = []  # what follows a token of an answer: row, column, token
    owners: list[tuple[int, Tokens]] = []  # of both lists, one after the other
    inner_owners: list[tuple[int, Tokens]] = []
    for row, wanted in enumerate(answers):
        column = 0
        for number, answer in enumerate(wanted):
            span = slice(column, column + len(answer))
            tokens[row, span], depth[row, span], branch[row, span] = answer, np.arange(len(answer)), number
            starts.append((row, answer[0] if answer else -1))
            owners.append((row, answer))
            # Column `at` holds token `at` and predicts the next one, the last one the end. An empty answer has none.
            inner += [(row, column + at, token) for at, token in enumerate([*answer[1:], -1]) if answer]
            inner_owners += [(row, answer)] * len(answer)
            column += len(answer)
    parts = [_of_next(first_BC, np.asarray(starts), end_ids)]
    if width:
        # [B, Q, Q]: a token sees itself and the earlier tokens of its own branch. `extend` adds the prefix.
        same = (branch[:, :, None] == branch[:, None, :]) & (branch[:, None, :] >= 0)
        earlier = np.arange(width)[:, None] >= np.arange(width)
        visible = to_device(same & earlier, device)
        hidden_BQD = tails.extend(to_device(tokens, device), to_device(depth, device), visible)
        tails.rewind()
        picks = np.asarray(inner)
        places = to_device(picks[:, :2], device)
        picked_MD = hidden_BQD[places[:, 0], places[:, 1]]
        # In parts, since logits are [M, C] in float32: 512 states of a vocabulary of 152,000 are 0.3 GB.
        for at in range(0, len(inner), _LOGIT_ROWS):
            chunk = slice(at, at + _LOGIT_ROWS)
            logits_MC = tails.logits(picked_MD[chunk])
            following = np.stack([np.arange(len(logits_MC)), picks[chunk, 2]], axis=1)
            parts.append(_of_next(logits_MC, following, end_ids))
    found: list[dict[Tokens, float]] = [{} for _ in answers]
    values = torch.cat(parts).double().tolist()  # one transfer; sums of logarithms then lose nothing more
    for (row, answer), value in zip(owners + inner_owners, values, strict=True):
        found[row][answer] = found[row].get(answer, 0.0) + value
    return found


def _of_next(
    logits_MC: Tensor, following: np.ndarray[tuple[int, int], np.dtype[np.int64]], end_ids: tuple[int, ...]
) -> Tensor:
    """Log-probabilities of what follows, given as (row of the logits, token or -1 for any end token).

    log softmax without its [M, C] result: the chosen logit minus logsumexp. For the end it is the logsumexp of the end
    tokens' logits, which is the logarithm of the sum of their probabilities.
    """
    device = logits_MC.device
    rows, tokens = to_device(following[:, 0], device), to_device(following[:, 1], device)
    totals = logits_MC.logsumexp(dim=1)
    ends = logits_MC[:, list(end_ids)].logsumexp(dim=1)
    chosen = logits_MC[rows, tokens.clamp(min=0)]  # whatever stands there for -1 is not used
    return torch.where(tokens < 0, ends[rows], chosen) - totals[rows]
