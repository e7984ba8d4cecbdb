"""How a killed collection goes on: any process asks the same again, and the store of answers knows some of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from sweep.collect.beams import propose_beams
from sweep.collect.measure import Measurement
from sweep.storage.local import stored_at
from sweep.vlm.answers.cached import answer_all
from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vqa import AnswerNormalisation, accuracy
from tests.sweep.collect.worlds import Answerer, embeddings, settings, table

SCORE = partial(accuracy, normalisation=AnswerNormalisation.OFFICIAL)
ROOT = Path(__file__).resolve().parents[3]


def plan_hash():
    world = table()
    items = list(propose_beams(settings(), world, embeddings(world)).work_items())
    return hashlib.sha256(repr(items).encode()).hexdigest()


def test_another_process_asks_the_same():
    code = "from tests.sweep.collect.test_resume import plan_hash; print(plan_hash())"
    other = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1"},
    )
    assert other.stdout.strip() == plan_hash()


def test_an_interrupted_collection_asks_only_what_is_missing(tmp_path):
    world, asked = table(), settings()
    calls = []

    def measured(store, stop_after=None):
        measurement = Measurement(propose_beams(asked, world, embeddings(world)), world, SCORE, gt_prob=True)

        def ask(items, score):
            assert score
            calls.append(len(items))
            for number, pair in enumerate(Answerer(world)(items)):
                if number == stop_after:
                    raise KeyboardInterrupt
                yield pair

        answer_all(
            propose_beams(asked, world, embeddings(world)).work_items(),
            wants=lambda item: Wanted(hashlib.sha256(repr(item).encode()).hexdigest(), "t"),
            store=AnswerStore(stored_at(store)),
            run=ask,
            score=True,
            model="rule",
            failure_limit=0.05,
            observer=measurement.add,
        )
        return measurement.collected()

    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "one", stop_after=70)
    resumed = measured(tmp_path / "one")
    undisturbed = measured(tmp_path / "two")
    assert calls == [160, 96, 160]  # the query that was cut off after 6 of its 8 beams is asked whole
    assert resumed.dataset.fingerprint() == undisturbed.dataset.fingerprint()
    assert (resumed.predictions, resumed.proposers) == (undisturbed.predictions, undisturbed.proposers)
