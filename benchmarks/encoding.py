"""One GRPO epoch against the usual way: encoding the pool again for every beam, at batch size 1.

    python -m benchmarks.encoding [--queries-per-round 40] [--rounds 5]

Shape: 2,000 queries x 20 beams x 64 candidates, width 384, hidden 256, one attention layer; OK-VQA's `rl_data.json` if
it lies at ../shared/data/okvqa, else random data of the same shape. The usual way is charged for the least it could do:
one forward and backward pass of the policy per beam through torch's own attention module, no reference and no old
policy (their log-probabilities taken as stored), one optimiser step per query. Ours is the whole epoch as trials run
it: policy, reference and, from the second epoch on, old policy, exact KL, statistics, optimiser.

The two sides alternate; the machine's noise hits both. Peak memory is that of the process (the high-water mark).
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.figures import Figure, add_option, write
from selector.batches import TensorData
from selector.data import Dataset, DataSettings, Outcome, load
from selector.settings import TrialSettings, ValidationSettings
from selector.training import GrpoStage, RceStage
from selector.validation import Evaluator

OKVQA = Path(__file__).resolve().parents[2] / "shared" / "data" / "okvqa"
SETTINGS = TrialSettings.model_validate(
    {
        "model": {"hidden": 256, "layers": 1, "dropout": 0.5},
        "rce": {"epochs": 0},
        "grpo": {"epochs": 1000, "batch_size": 32},
    }
)


def random_dataset(queries: int = 2000, beams: int = 20, pool: int = 64, width: int = 384) -> Dataset:
    """OK-VQA's shape with random content."""
    rng = np.random.default_rng(0)
    items = 9000
    picks = np.concatenate([np.argsort(rng.random((beams, pool)))[:, :2] for _ in range(queries)])
    outcomes = (rng.random(queries * beams) < 0.07).astype(np.float32)
    embeddings = rng.normal(size=(items, width)).astype(np.float32)
    split = np.zeros(queries, dtype=np.int8)
    split[-300:] = 1
    return Dataset(
        embeddings=embeddings,
        query_items=np.arange(queries),
        pool_items=np.concatenate([queries + rng.choice(items - queries, pool, replace=False) for _ in range(queries)]),
        pool_starts=np.arange(queries + 1) * pool,
        beam_picks=picks.astype(np.int64),
        beam_starts=np.arange(queries + 1) * beams,
        outcomes={Outcome.CORRECT: outcomes, Outcome.ACC_SCORE: outcomes},
        split=split,
    )


class UsualSelector(nn.Module):
    """The same architecture the usual way: candidates projected, then keys and values projected, per beam."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.input_proj = nn.Linear(width, hidden, bias=False)
        self.attention = nn.MultiheadAttention(hidden, 4, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.query_proj = nn.Linear(hidden, hidden, bias=False)
        self.cand_proj = nn.Linear(hidden, hidden, bias=False)

    def log_prob(self, query_1D: Tensor, cand_1KD: Tensor, beam: list[int]) -> Tensor:
        """Log-probability of one beam, encoding everything for it."""
        state = self.input_proj(query_1D)[:, None]
        candidates = self.input_proj(cand_1KD)
        state = self.norm(state + self.attention(state, candidates, candidates, need_weights=False)[0])
        query = functional.normalize(self.query_proj(state)[:, 0], dim=-1)
        logits = (functional.normalize(self.cand_proj(candidates), dim=-1) @ query[0]) / 0.1
        total = logits.new_zeros(())
        for step, pick in enumerate(beam):
            logits_left = logits[0].clone()
            logits_left[beam[:step]] = -torch.inf
            total = total + logits_left.log_softmax(-1)[pick]
        return total


def usual_round(model: UsualSelector, optimizer: torch.optim.Optimizer, dataset: Dataset, queries: list[int]) -> float:
    """Seconds for one optimiser step per query, every beam encoded on its own."""
    embeddings = torch.from_numpy(dataset.embeddings)
    started = time.perf_counter()
    for query in queries:
        pool = dataset.pool_items[dataset.pool_starts[query] : dataset.pool_starts[query + 1]]
        first, last = dataset.beam_starts[query], dataset.beam_starts[query + 1]
        query_1D, cand_1KD = embeddings[dataset.query_items[query]][None], embeddings[torch.from_numpy(pool)][None]
        beams = dataset.beam_picks[first:last].tolist()
        log_prob = torch.stack([model.log_prob(query_1D, cand_1KD, beam) for beam in beams])
        ratio = (log_prob - log_prob.detach()).exp()
        optimizer.zero_grad()
        (-ratio * torch.linspace(-1, 1, len(beams))).mean().backward()
        optimizer.step()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--queries-per-round", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    add_option(parser)
    arguments = parser.parse_args()
    real = OKVQA.is_dir()
    dataset = load(DataSettings(path=OKVQA)) if real else random_dataset()
    print(
        f"data: {'OK-VQA rl_data.json' if real else 'random, OK-VQA shape'}; torch threads: {torch.get_num_threads()}"
    )
    data = TensorData(dataset, torch.device("cpu"))
    evaluate = Evaluator(data, ValidationSettings())
    epochs = iter(GrpoStage(SETTINGS, data, evaluate, RceStage(SETTINGS, data, evaluate).reference_weights()))
    usual = UsualSelector(dataset.width, 256)
    optimizer = torch.optim.AdamW(usual.parameters(), lr=5e-5)
    usual_round(usual, optimizer, dataset, [0, 1])
    next(epochs)
    ratios = []
    for turn in range(arguments.rounds):
        chosen = list(range(turn * arguments.queries_per_round, (turn + 1) * arguments.queries_per_round))
        slow = usual_round(usual, optimizer, dataset, chosen) / len(chosen)
        report = next(epochs)
        fast = 1 / report.queries_per_second
        ratios.append(slow / fast)
        print(
            f"round {turn}: per beam at batch 1 {slow * 1e3:6.2f} ms/query, shared and folded {fast * 1e3:6.3f} "
            f"ms/query (epoch of {report.train_queries} queries {report.seconds:.2f} s): {slow / fast:5.1f} times"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"median {statistics.median(ratios):.1f} times, lowest {min(ratios):.1f}; peak memory {peak:.0f} MB")
    ratio = Figure("encoding", "epoch, over encoding per beam", statistics.median(ratios))
    write(arguments.figures, [ratio, Figure("encoding", "peak memory", peak, "MB", "lower")])


if __name__ == "__main__":
    main()
