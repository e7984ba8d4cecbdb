"""The rows of the table: what selects demonstrations, and what it selects for every question.

Legend: Q questions, K candidates, S largest number of shots, D independent draws, B questions of a batch.

A selector unrolls once, greedily. Its k-shot prompt shows the first k picks in the order of picking. So k shots are a
prefix of k + 1. Random rows do the same with one random order per question and draw. Similarity shows the k nearest
candidates with the **nearest last**, next to the question, as is usual for it. Its k-shot selection is part of the
(k+1)-shot one, but stands at the end of that prompt and is no prefix of it.

A pool of fewer than k candidates is shown whole. The table says for how many questions that was so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from selector.arrays import Int64Array
from selector.data import Dataset
from selector.hashes import array_parts, content_hash
from selector.model import PointerSelector
from selector.seeds import derive_seed
from sweep.evaluation.questions import NONE, Questions
from sweep.evaluation.row_kinds import RowKind as RowKind
from sweep.settings.evaluation import EvaluationSettings, Reference

BATCH = 256


@dataclass(frozen=True)
class PolicyRow:
    """What is evaluated.

    Attributes:
        name: unique in an evaluation.
        trial: its number in the study, where the row belongs to one.
        step: the epoch, counted over both stages.
        seed: that it was trained under.
        val_loss: the epoch's.
        checkpoint: content hash.
    """

    name: str
    kind: RowKind
    trial: int | None = None
    step: int | None = None
    seed: int | None = None
    val_loss: float | None = None
    checkpoint: str | None = None


@dataclass(frozen=True, eq=False)
class Selections:
    """What a row shows.

    Attributes:
        row: whose.
        picks_DQS: int64 item ids in the order of picking. NONE after a pool's last candidate. Draws are averaged.
        nearest_last: shown in reverse order of picking.
    """

    row: PolicyRow
    picks_DQS: Int64Array
    nearest_last: bool = False

    def demonstrations(self, draw: int, question: int, shots: int) -> tuple[int, ...]:
        """Items to show before a question (its place in `Questions`), in the order of the prompt."""
        picks = [int(item) for item in self.picks_DQS[draw, question, :shots] if item != NONE]
        return tuple(reversed(picks)) if self.nearest_last else tuple(picks)

    def fingerprint(self) -> str:
        """Equal for rows that show the same in every prompt."""
        return content_hash([str(self.nearest_last).encode(), *array_parts(self.picks_DQS)])


@dataclass(frozen=True, eq=False)
class Panel:
    """Questions and what every row shows before them."""

    questions: Questions
    selections: tuple[Selections, ...]


def build_panel(
    dataset: Dataset,
    questions: Questions,
    policies: Iterable[tuple[PolicyRow, PointerSelector]],
    settings: EvaluationSettings,
) -> Panel:
    """Rows that need no training, then one per selector, in the given order.

    Args:
        dataset: with the embeddings.
        questions: from `choose_questions`.
        policies: selectors on the CPU, in evaluation mode. Taken one at a time, so that a generator holds only one.
        settings: shots, draws, whether there is a row without demonstrations.
    """
    shots = settings.shot_numbers[-1]
    references = [select_nothing(questions, shots)] if settings.no_demonstrations else []
    references += [
        select_randomly(questions, shots, settings.random_draws, settings.seed),
        select_similar(questions, dataset, shots),
    ]
    selected = [select_with(row, model, questions, dataset, shots) for row, model in policies]
    return Panel(questions, (*references, *selected))


def select_nothing(questions: Questions, shots: int) -> Selections:
    """The question alone, whatever the number of shots."""
    row = PolicyRow(Reference.NO_DEMONSTRATIONS.value, RowKind.NO_DEMONSTRATIONS)
    return Selections(row, np.full((1, len(questions), shots), NONE, dtype=np.int64))


def select_randomly(questions: Questions, shots: int, draws: int, seed: int) -> Selections:
    """Uniform without replacement. A question's draws depend on the seed, its item and its pool alone."""
    picks_DQS = np.full((draws, len(questions), shots), NONE, dtype=np.int64)
    for place, (item, size) in enumerate(zip(questions.items_Q, questions.sizes_Q, strict=True)):
        for draw in range(draws):
            generator = np.random.default_rng(derive_seed("random row", seed, draw, int(item)))
            order = generator.permutation(size)[:shots]
            picks_DQS[draw, place, : len(order)] = questions.pools_QK[place, order]
    return Selections(PolicyRow(Reference.RANDOM.value, RowKind.RANDOM), picks_DQS)


def select_similar(questions: Questions, dataset: Dataset, shots: int) -> Selections:
    """Highest cosine of the embeddings. Ties go to the earlier candidate."""
    picks_DQS = np.full((1, len(questions), shots), NONE, dtype=np.int64)
    for place, (item, size) in enumerate(zip(questions.items_Q, questions.sizes_Q, strict=True)):
        pool = questions.pools_QK[place, :size]
        candidates_KD = dataset.embeddings[pool].astype(np.float64)
        lengths_K = np.linalg.norm(candidates_KD, axis=1)
        score_K = candidates_KD @ dataset.embeddings[item].astype(np.float64)
        cosine_K = np.divide(score_K, lengths_K, out=np.zeros_like(score_K), where=lengths_K > 0)
        nearest = pool[np.argsort(-cosine_K, kind="stable")[:shots]]
        picks_DQS[0, place, : len(nearest)] = nearest
    return Selections(PolicyRow(Reference.SIMILARITY.value, RowKind.SIMILARITY), picks_DQS, nearest_last=True)


def select_with(
    row: PolicyRow, model: PointerSelector, questions: Questions, dataset: Dataset, shots: int
) -> Selections:
    """One greedy unroll per question. Pools that are too small are picked empty."""
    picks_DQS = np.full((1, len(questions), shots), NONE, dtype=np.int64)
    possible_Q = np.minimum(questions.sizes_Q, shots)
    for picks in range(1, shots + 1):
        places = np.flatnonzero(possible_Q == picks)
        for start in range(0, len(places), BATCH):
            batch_B = places[start : start + BATCH]
            pools_BK = questions.pools_QK[batch_B]
            chosen = model.select(
                torch.from_numpy(dataset.embeddings[questions.items_Q[batch_B]]),
                torch.from_numpy(dataset.embeddings[pools_BK]),
                picks,
                torch.from_numpy(pools_BK != NONE),
            )
            picks_DQS[0, batch_B, :picks] = np.take_along_axis(pools_BK, chosen.numpy(), axis=1)
    return Selections(row, picks_DQS)
