"""Small valid training data in every form, to be broken one thing at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from selector.data import Dataset, DataSettings, Outcome, load, native
from selector.data.queries import QueryTable, table_of

QUERIES = (8, 3, 21, 5, 13, 2)
ITEMS, WIDTH = 30, 4
BEAMS = 3
RlData = dict[str, Any]


def beam(query: int, number: int) -> dict[str, Any]:
    pool = pool_of(query)
    pointer = [number, number + 1]
    return {
        "pointer": pointer,
        "pointer_global": [pool[position] for position in pointer],
        "gen_method": "beam",
        "beam_score": None,
        "logprob_score": None,
        "vqa_pred_answer": "cat",
        "vqa_correct": int(number == 0),
        "vqa_acc_score": [1.0, 0.3, 0.0][number % 3],
        "vqa_gt_prob": 0.25,
        "vqa_rel_score": -0.5,
        "vqa_eval_mode": "vqa",
        "eval_failed": False,
    }


def pool_of(query: int) -> list[int]:
    return [item for item in range(ITEMS) if item != query][query % 3 : query % 3 + 6]


def rl_data() -> RlData:
    return {
        str(query): {
            "query": {"query_id": query},
            "candidate_pool_ids": pool_of(query),
            "pointer_candidates": [beam(query, number) for number in range(BEAMS)],
        }
        for query in QUERIES
    }


def older_data() -> RlData:
    return {
        str(query): {
            "id_list": [[pool_of(query)[number], pool_of(query)[5], query] for number in range(BEAMS)],
            "score_list": [0.5, -1.25, 3],
        }
        for query in QUERIES
    }


def embeddings() -> torch.Tensor:
    return torch.randn(ITEMS, WIDTH, generator=torch.Generator().manual_seed(0))


def store(folder: Path, data: RlData | str | bytes, table: torch.Tensor | None = None) -> Path:
    """Write the JSON file (text and bytes as they are) and its embeddings; returns the JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rl_data.json"
    if isinstance(data, dict):
        data = json.dumps(data)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    torch.save(embeddings() if table is None else table, folder / "embeddings.pth")
    return path


def load_json(folder: Path, data: RlData | str | bytes, table: torch.Tensor | None = None, **settings: Any) -> Dataset:
    return load(DataSettings(path=store(folder, data, table), **settings))


def dataset(**fields: Any) -> Dataset:
    """Three queries with pools of 3, 2 and 4 and groups of 2, 1 and 3 beams, without going through a file."""
    values: dict[str, Any] = {
        "embeddings": embeddings().numpy(),
        "query_items": np.array([7, 4, 9]),
        "pool_items": np.array([1, 2, 3, 5, 6, 10, 11, 12, 13]),
        "pool_starts": np.array([0, 3, 5, 9]),
        "beam_picks": np.array([[0, 1], [2, 1], [1, 0], [3, 0], [0, 3], [1, 2]]),
        "beam_starts": np.array([0, 2, 3, 6]),
        "outcomes": {Outcome.CORRECT: np.array([1, 0, 0, 0, 1, 1], dtype=np.float32)},
        "split": np.array([0, 1, 2], dtype=np.int8),
    }
    return Dataset(**(values | fields))


def read_notes(folder: Path) -> dict[native.Note, list[str]]:
    """The note columns of a native folder."""
    beams = pq.read_table(folder / native.BEAMS)
    return {note: beams.column(note.value).to_pylist() for note in native.Note if note.value in beams.column_names}


def write_queries(queries: QueryTable, path: Path) -> None:
    pq.write_table(table_of(queries), path)
