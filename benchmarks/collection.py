"""Which beams to measure at equal prompts: breadth, mix of proposers, and rounds, against 10 beams for 2,000 queries.

    python -m benchmarks.collection votes --data FOLDER --out FILE [--arms NAME ...] [--seeds 0 1 2 3 4]
    python -m benchmarks.collection demo --out FILE
    python -m benchmarks.collection report FILE ...

No model is asked. In `votes` the answers that annotators gave to the demonstrations' questions vote, and the earlier
one wins a tie. FOLDER holds `items.jsonl` (index, split, image_id, answers), `embeddings.pth` and `val_pools.json`. In
`demo` the answer is right where the shown demonstrations tell it (`sweep.demo.world`). The demo's embeddings come from
its model.

Each arm spends PROMPTS on training queries. A selector is trained by GRPO on what was measured, always by the same
recipe, and its last epoch counts. Its demonstrations are answered for held-out questions with 1 to 4 shots. Each arm
and seed is one line of FILE, so that the benchmark can be done in pieces. To save time, embeddings of the votes are
reduced to their WIDTH principal directions, and the selector has no layer of attention. It is as wide as they are, so
that it begins near plain similarity. There is no warm-up by RCE: groups that nothing answers would pull it away from
there, towards whatever was proposed for them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from selector.arrays import Float32Array, Float64Array
from selector.data.dataset import Dataset, Split
from selector.data.embeddings import load_embeddings, unit_rows
from selector.data.queries import QueryTable, table_of
from selector.data.settings import SplitSettings
from selector.data.summary import describe
from selector.model import PointerSelector
from selector.rewards import compute_rewards
from selector.seeds import hashed_order
from selector.settings import RewardSettings, TrialSettings, ValidationMetric, ValidationSettings
from selector.training.run import Training
from sweep.collect.beams import Beams, propose_beams
from sweep.collect.measure import Measured, Measurement, collected_of
from sweep.collect.queries import build_queries, queries_at
from sweep.collect.rounds import collect_in_rounds
from sweep.demo.concepts import Kind, concept_parts
from sweep.demo.features import item_features
from sweep.demo.model import DEMO_MODEL_FOLDER, load_demo_model
from sweep.demo.world import make_world
from sweep.evaluation.bootstrap import DIFFERENCES, Bootstrap
from sweep.settings.collect import BuildSettings, CollectSettings, PoolBy
from sweep.settings.demo import WorldSettings
from sweep.vlm.work import Answer
from sweep.vqa.accuracy import AnswerNormalisation, accuracy

PROMPTS, SHOTS, BASELINE = 20_000, 4, "uniform 10 x 2000"
HELD_OUT = {"similarity": 1, "similarity_sampled": 9, "random": 10}
VALIDATION, BATCH, WIDTH = 20, 256, 128
TRIAL: dict[str, Any] = {
    "model": {"hidden": WIDTH, "layers": 0, "decoder": "gate"},
    "rce": {"epochs": 0},
    "grpo": {"epochs": 4, "lr": 1e-3, "kl_beta": 0.05, "schedule": "cosine"},
}

METRIC = ValidationSettings(metric=ValidationMetric.RCE)
"""It exists for few validation queries too, and nothing is chosen by it."""


@dataclass(frozen=True)
class Arm:
    """A way of spending the prompts.

    Attributes:
        queries: training queries of the first round.
        beams: per query in the first round.
        near: share of the beams that are sampled by similarity. The rest is random, but for the nearest one.
        rounds: section `collect.rounds`, or None.
    """

    queries: int
    beams: int
    near: float = 0.45
    rounds: dict[str, Any] | None = None


def _rounds(give_up: int | None = 0, until: str = "largest", largest: int = 30, **beams: int) -> dict[str, Any]:
    counts = dict.fromkeys(("combined", "random"), 0) | beams
    rounds: dict[str, Any] = {"most": 4, "beams": counts, "give_up": give_up, "until": until, "largest": largest}
    return rounds | ({"online": {}} if "selector_sampled" in beams else {})


ARMS = {
    BASELINE: Arm(2000, 10),
    # breadth: the same proposers
    "uniform 20 x 1000": Arm(1000, 20),
    "uniform 5 x 4000": Arm(4000, 5),
    "uniform 4 x 5000": Arm(5000, 4),
    # proposers: the same breadth
    "10 x 2000, all near": Arm(2000, 10, near=1.0),
    "10 x 2000, all random": Arm(2000, 10, near=0.0),
    # rounds: further beams by the same proposers, then by others
    "5 x 2000, then near and random": Arm(2000, 5, rounds=_rounds(similarity_sampled=2, random=3)),
    "5 x 2000, then combined": Arm(2000, 5, rounds=_rounds(combined=4, random=1)),
    "5 x 2000, then online selector": Arm(2000, 5, rounds=_rounds(selector_sampled=4, random=1)),
    "5 x 3000, then combined": Arm(3000, 5, rounds=_rounds(combined=4, random=1)),
    "5 x 3000, then all three": Arm(3000, 5, rounds=_rounds(combined=2, selector_sampled=2, random=1)),
    # the earlier project's: until there is contrast. With fewer queries, so that the first round leaves prompts for it
    "10 x 1250, then balanced to 40": Arm(
        1250, 10, rounds=_rounds(None, "contrast", 40, similarity_sampled=2, random=3) | {"most": 6}
    ),
}


MOST = max(arm.queries for arm in ARMS.values())


class Votes:
    """Questions with their annotators' answers. The demonstrations' answers vote."""

    def __init__(self, folder: Path) -> None:
        """Read a folder (see the module)."""
        items = [json.loads(line) for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()]
        self._answers = [tuple(item["answers"]) for item in items]
        self.images = np.array([item["image_id"] for item in items], dtype=np.int64)
        self.embeddings = reduced(load_embeddings(folder / "embeddings.pth"))
        pools = json.loads((folder / "val_pools.json").read_text(encoding="utf-8"))
        self.tested = np.array([int(item) for item in pools], dtype=np.int64)
        self.pools = [np.array(pools[str(item)], dtype=np.int64) for item in self.tested.tolist()]
        self.train = np.array([item["split"] == "train" for item in items])
        self._common = [Counter(self._spelled(answers)).most_common(1)[0][0] for answers in self._answers]
        self._known: dict[tuple[int, str], float] = {}

    @staticmethod
    def _spelled(answers: Sequence[str]) -> list[str]:
        return [answer.strip().lower() for answer in answers]

    def __len__(self) -> int:
        return len(self._answers)

    def answers(self, item: int) -> tuple[str, ...]:
        """Ground truth. Empty for what is held out, so that it is neither asked nor shown."""
        return self._answers[item] if self.train[item] else ()

    def image_id(self, item: int) -> int:
        """The image of an item."""
        return int(self.images[item])

    def queries(self, seed: int) -> QueryTable:
        """Training and validation queries, enough for every arm."""
        count = MOST + VALIDATION
        settings = BuildSettings(count=count, split=SplitSettings(val=VALIDATION / count, test=0, seed=seed))
        return build_queries(settings, self.images, self.train, {PoolBy.SIMILARITY: unit_rows(self.embeddings)}, seed)

    def accuracy(self, item: int, shown: Sequence[int]) -> float:
        """Of the vote of the shown demonstrations. Of equal ones the earlier wins."""
        text = Counter(self._common[demo] for demo in shown).most_common(1)[0][0]
        key = (item, text)
        if key not in self._known:
            self._known[key] = accuracy(text, self._answers[item], AnswerNormalisation.OFFICIAL)
        return self._known[key]


def reduced(rows: Float32Array) -> Float32Array:
    """The WIDTH directions that hold most of the rows' lengths."""
    _, directions = np.linalg.eigh(rows.T.astype(np.float64) @ rows)
    return np.ascontiguousarray(rows @ directions[:, -WIDTH:], dtype=np.float32)


class Told:
    """The demo world. An answer is right where the shown demonstrations tell it, or the image alone does."""

    def __init__(self) -> None:
        """Make a world with queries enough for every arm."""
        settings = WorldSettings(
            demonstrations=2000, train=MOST, val=VALIDATION, test=1000, concepts=160, smallest_pool=48, largest_pool=64
        )
        self._world = world = make_world(settings)
        model = load_demo_model(DEMO_MODEL_FOLDER)
        self.embeddings = item_features(model, world.images[world.image], world.questions)
        self._parts = np.stack(concept_parts(world.concept))
        self.tested = world.query_items[world.split == int(Split.TEST)]
        self.pools = [pool for pool, split in zip(world.pools, world.split, strict=True) if split == int(Split.TEST)]
        self.train = np.ones(len(world.kind), dtype=bool)
        self.train[self.tested] = False

    def __len__(self) -> int:
        return len(self._world.kind)

    def answers(self, item: int) -> tuple[str, ...]:
        """Ground truth. Empty for what is held out, so that it is neither asked nor shown."""
        return self._world.answers[item] if self.train[item] else ()

    def image_id(self, item: int) -> int:
        """The image of an item."""
        return int(self._world.image[item])

    def queries(self, seed: int) -> QueryTable:
        """Training and validation queries, enough for every arm. They are those of the world, whatever the seed."""
        world, known = self._world, np.flatnonzero(self._world.split != int(Split.TEST))
        starts = np.concatenate([[0], np.cumsum([len(world.pools[query]) for query in known])]).astype(np.int64)
        pools = np.concatenate([world.pools[query] for query in known])
        return QueryTable(world.query_items[known], pools, starts, world.split[known])

    def accuracy(self, item: int, shown: Sequence[int]) -> float:
        """1 or 0."""
        kind = self._world.kind
        asked = Kind(int(kind[item]))
        if asked in (Kind.COLOUR, Kind.SHAPE):
            return 1.0
        same = self._parts[:, [demo for demo in shown if kind[demo] == asked]] == self._parts[:, [item]]
        if asked is Kind.CODE:  # one tells the colour, another the shape
            return float(same[0].any() and same[1].any())
        return float(same.all(axis=0).any())


Worlds = Votes | Told


def collected(world: Worlds, arm: Arm, seed: int) -> Dataset:
    """What an arm measures."""
    queries = world.queries(seed)
    train = np.flatnonzero(queries.split == int(Split.TRAIN))
    train = train[hashed_order(queries.query_items[train], f"arm:{seed}:")[: arm.queries]]
    places = np.sort(np.concatenate([train, np.flatnonzero(queries.split == int(Split.VAL))]))
    near = round((arm.beams - 1) * arm.near) if arm.near < 1 else arm.beams - 1
    beams = {"similarity": 1, "similarity_sampled": near, "random": arm.beams - 1 - near}
    held_out = int((queries.split == int(Split.VAL)).sum()) * sum(HELD_OUT.values())
    values = {"beams": beams, "held_out_beams": HELD_OUT, "rounds": arm.rounds, "gt_prob": False, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "queries.parquet"
        pq.write_table(table_of(queries_at(queries, places)), file)
        budget = {"prompts": PROMPTS + held_out}
        settings = CollectSettings.model_validate(values | {"queries": file, "budget": budget})
        first = propose_beams(settings, world, world.embeddings)
        found = collect_in_rounds(settings, first, partial(_asked, world))
    return collected_of(found.measured).dataset


def _asked(world: Worlds, beams: Beams) -> Measured:
    measurement = Measurement(beams, world, lambda text, answers: float(text), gt_prob=False)
    for item in beams.work_items():
        measurement.add(item, Answer(str(world.accuracy(item.query, item.demonstrations)), None, 0))
    return measurement.measured()


def trained(dataset: Dataset, seed: int) -> PointerSelector:
    """The last epoch."""
    training = Training(TrialSettings.model_validate(TRIAL | {"seed": seed}), dataset, METRIC)
    for _ in training:
        pass
    return training.model.eval()


@torch.no_grad()
def tested(world: Worlds, model: PointerSelector) -> Float64Array:
    """Accuracy of each held-out question, mean over 1 to SHOTS demonstrations, float64 [Q]."""
    rows, found = torch.from_numpy(world.embeddings), []
    for start in range(0, len(world.tested), BATCH):
        items, pools = world.tested[start : start + BATCH], world.pools[start : start + BATCH]
        mask = torch.zeros(len(pools), max(map(len, pools)), dtype=torch.bool)
        candidates = torch.zeros(*mask.shape, rows.shape[1])
        for place, pool in enumerate(pools):
            mask[place, : len(pool)], candidates[place, : len(pool)] = True, rows[pool]
        picks_BS = model.select(rows[items], candidates, SHOTS, mask).tolist()
        for item, pool, picks in zip(items.tolist(), pools, picks_BS, strict=True):
            shown = pool[picks].tolist()
            found.append(np.mean([world.accuracy(item, shown[: count + 1]) for count in range(SHOTS)]))
    return np.array(found)


def measure(world: Worlds, names: Sequence[str], seeds: Sequence[int], out: Path) -> None:
    """Append what FILE lacks."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    done = {(record["arm"], record["seed"]) for record in map(json.loads, lines)}
    for name, seed in product(names, seeds):
        if (name, seed) in done:
            continue
        began = time.process_time()
        dataset = collected(world, ARMS[name], seed)
        summary = describe(dataset, compute_rewards(dataset.outcomes, RewardSettings()))
        train = int(dataset.beam_starts[-1]) - int(np.diff(dataset.beam_starts)[dataset.split != Split.TRAIN].sum())
        record = {
            "arm": name,
            "seed": seed,
            "prompts": train,
            "queries": summary.queries[Split.TRAIN],
            "contrast": 1 - summary.zero_variance_share[Split.TRAIN],
            "accuracy": tested(world, trained(dataset, seed)).round(6).tolist(),
        }
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(
            f"{name}, seed {seed}: {np.mean(record['accuracy']):.4f} ({time.process_time() - began:.0f} s)", flush=True
        )


def report(files: Sequence[Path]) -> None:
    """A table: accuracy, and the difference to the baseline, paired by question and seed, with 95 % intervals."""
    records = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    by_arm = {name: {one["seed"]: one for one in records if one["arm"] == name} for name in ARMS}
    seeds = sorted(by_arm[BASELINE])
    print(f"seeds: {len(seeds)}; prompts and groups with contrast are of the training queries")
    print("| arm | prompts | queries | contrast | accuracy | difference | 95 % | by seed |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, runs in by_arm.items():
        if sorted(runs) != seeds:
            continue
        values = np.array([runs[seed]["accuracy"] for seed in seeds])
        gain = values - np.array([by_arm[BASELINE][seed]["accuracy"] for seed in seeds])
        bootstrap = Bootstrap(np.arange(values.shape[1]), 10_000, 0)
        found = bootstrap.replicate(gain.mean(axis=0)[:, None], DIFFERENCES)
        low, high = (float(end[0]) for end in found.interval(np.array([0.05])))
        mean = {key: np.mean([runs[seed][key] for seed in seeds]) for key in ("prompts", "queries", "contrast")}
        each = " ".join(f"{one:+.4f}" for one in gain.mean(axis=1))
        print(
            f"| {name} | {mean['prompts']:.0f} | {mean['queries']:.0f} | {mean['contrast']:.1%} | {values.mean():.4f} "
            f"| {gain.mean():+.4f} | [{low:+.4f}, {high:+.4f}] | {each} |"
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=("votes", "demo", "report"))
    parser.add_argument("files", nargs="*", type=Path, help="for report")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    asked = parser.parse_args()
    if asked.world == "report":
        report(asked.files)
        return
    if asked.out is None or (asked.world == "votes" and asked.data is None):
        parser.error("votes needs --data FOLDER, and both need --out FILE")
    torch.set_num_threads(1)
    measure(Votes(asked.data) if asked.world == "votes" else Told(), asked.arms, asked.seeds, asked.out)


if __name__ == "__main__":
    main()
