"""Records a surface: real training at points spread over a space, the validation loss of every epoch.

    python -m benchmarks.search.record demo --out FILE [--until 600] [--minutes 5]
    python -m benchmarks.search.record votes --data FOLDER --out FILE [--until 160] [--minutes 5]
    python -m benchmarks.search.record pack FILE SURFACE

One line of JSON for each point, so that it can be done in pieces: a further call goes on. `pack` makes the small file
that `benchmarks.search` reads of them.

`demo` is the demo world with the parameters and the trial of spaces/grpo.yaml. Its beams are answered by the demo's
model, unless FOLDER holds the data that a run of that space has collected. `votes` is OK-VQA with the parameters of
spaces/beams.yaml. There the annotators' answers of the two demonstrations vote, and no model is asked. FOLDER holds
`rl_data.json` and `embeddings.pth`. To save time `votes` has CHANGES, and embeddings reduced to their principal
directions (`benchmarks.collection`).

All points have the seed of the space. Points with equal warm-up share one, as the trials of a run do.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.collection import reduced
from benchmarks.search.points import spread_points
from benchmarks.search.surface import FIELDS, pack
from benchmarks.validation_metrics import collected
from selector.batches import TensorData
from selector.data import Dataset, load
from selector.reports import EpochReport
from selector.settings import TrialSettings
from selector.training import GrpoStage, RceStage
from selector.validation import Evaluator
from sweep.plan.items import open_source
from sweep.runs.paths import SharedPaths
from sweep.space import SearchSpace, find_space, parse_space
from sweep.storage.hashes import canonical_hash
from sweep.storage.local import stored_at
from sweep.vlm.engine.engine import Engine

SPACES = {"demo": "spaces/grpo.yaml", "votes": "spaces/beams.yaml"}
CHANGES: dict[str, tuple[str, ...]] = {
    "demo": (),
    "votes": ("trial.model.hidden=64", "trial.train_queries=400", "trial.grpo.batch_size=64"),
}


def space_of(name: str) -> SearchSpace:
    """The space of a surface."""
    return parse_space(*find_space(SPACES[name]), CHANGES[name])


class Recorder:
    """Trains points of one space on one data set."""

    def __init__(self, space: SearchSpace, dataset: Dataset) -> None:
        self._space = space
        self._data = TensorData(dataset, torch.device("cpu"))
        self._evaluate = Evaluator(self._data, space.validation)
        self._warm_ups: dict[str, tuple[dict[str, torch.Tensor], list[EpochReport]]] = {}

    def curve(self, settings: TrialSettings) -> list[EpochReport]:
        """All epochs of a trial."""
        weights, reports = self._warm_up(settings)
        return [*reports, *GrpoStage(settings, self._data, self._evaluate, weights)]

    def _warm_up(self, settings: TrialSettings) -> tuple[dict[str, torch.Tensor], list[EpochReport]]:
        key = canonical_hash(settings.rce_key())
        if key not in self._warm_ups:
            stage = RceStage(settings, self._data, self._evaluate)
            reports = list(stage)
            self._warm_ups[key] = stage.reference_weights(), reports
        return self._warm_ups[key]


def dataset_of(name: str, space: SearchSpace, folder: Path | None) -> Dataset:
    """What is trained on."""
    if folder is not None:
        found = load(space.data.replace(path=folder))
        return found if name == "demo" else dataclasses.replace(found, embeddings=reduced(found.embeddings))
    if space.vlm is None:
        raise ValueError(f"{SPACES[name]} has no section vlm")
    with tempfile.TemporaryDirectory() as scratch:
        shared = SharedPaths(stored_at(Path(scratch)))
        return collected(space, open_source(space, shared).table, shared, Engine(space.vlm, "cpu"))


def record(name: str, folder: Path | None, out: Path, until: int, minutes: float) -> None:
    """Append points until there are so many, or the minutes are over."""
    began = time.monotonic()
    space = space_of(name)
    dataset = dataset_of(name, space, folder)
    recorder = Recorder(space, dataset)
    if not out.exists():
        _append(out, _header(name, space, dataset))
    done = len(out.read_text(encoding="utf-8").splitlines()) - 1
    for params in spread_points(space, max(0, until - done), done):
        if time.monotonic() - began > 60 * minutes:
            break
        before = time.process_time()
        curve = recorder.curve(space.resolve(params, 0))
        columns = {name: [_short(getattr(one, name)) for one in curve] for name in FIELDS}
        _append(out, {"params": params, "seconds": round(time.process_time() - before, 3), **columns})
        done += 1
    print(f"{out}: {done} points")


def _header(name: str, space: SearchSpace, dataset: Dataset) -> dict[str, Any]:
    """How a surface was made."""
    return {
        "surface": name,
        "space": SPACES[name],
        "changes": CHANGES[name],
        "width": dataset.width,
        "data": dataset.fingerprint(),
        "queries": np.bincount(dataset.split, minlength=3).tolist(),
        "epochs": space.epochs(),
        "seed": space.seed,
        "torch": torch.__version__,
    }


def _short(value: float | None) -> float | None:
    """Seven digits: float32 has no more."""
    return None if value is None else float(f"{value:.7g}")


def _append(file: Path, line: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*SPACES, "pack"))
    parser.add_argument("files", nargs="*", type=Path, help="for pack")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--until", type=int, default=600)
    parser.add_argument("--minutes", type=float, default=5.0)
    asked = parser.parse_args()
    if asked.what == "pack":
        if len(asked.files) != 2:
            parser.error("pack needs the recorded file and the surface to be written")
        pack(*asked.files)
        return
    if asked.out is None or (asked.what == "votes" and asked.data is None):
        parser.error("demo needs --out FILE, and votes needs --data FOLDER --out FILE")
    torch.set_num_threads(1)
    record(asked.what, asked.data, asked.out, asked.until, asked.minutes)


if __name__ == "__main__":
    main()
