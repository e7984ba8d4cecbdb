from __future__ import annotations

import json
from collections import Counter
from functools import partial

import numpy as np
import pytest

from selector.config import SelectorConfig
from selector.data import DataSettings, Outcome, Split, describe, load
from selector.data.embeddings import unit_rows
from selector.data.native import MANIFEST, Note
from selector.errors import CheckpointError, DataError
from selector.model import build_selector
from selector.rewards import compute_rewards
from selector.settings import RewardMode, RewardSettings
from sweep.collect.beams import propose_beams
from sweep.collect.digest import collect_digest, embeddings_hash
from sweep.collect.store import check_empty, store_collected
from sweep.settings.vlm import VlmSettings
from sweep.storage.local import stored_at
from sweep.trials.checkpoints import write_checkpoint
from sweep.vlm.work import Answer, WorkItem
from sweep.vqa import AnswerNormalisation, accuracy
from tests.selector.data.builders import read_notes
from tests.sweep.collect.worlds import WIDTH, Answerer, collect, embeddings, settings, table

SCORE = partial(accuracy, normalisation=AnswerNormalisation.ALWAYS)
HARD_AND_SOFT = RewardSettings(mode=RewardMode.HARD_PLUS_SOFT)


def run(world=None, asked=None, report=None, **answering):
    world = world or table()
    return collect(asked or settings(), world, embeddings(world), Answerer(world, **answering), SCORE, report)


def exported(folder, width=WIDTH):
    config = SelectorConfig(width, hidden=8, layers=1, heads=2, decoder="gate", temperature=0.1, dropout=0.0)
    model = build_selector(config, 0)
    write_checkpoint(stored_at(folder), dict(model.state_dict()), {}, model.config_dict())
    return folder


def test_every_beam_has_the_outcome_of_its_own_answer():
    world = table()
    found = run(world)
    data, unit = found.dataset, unit_rows(embeddings(world)).astype(np.float64)
    owner = np.repeat(np.arange(data.queries), np.diff(data.beam_starts))
    assert len(found.predictions) == len(found.proposers) == len(data.beam_picks) == 20 * 8
    seen = set()
    for row, query in enumerate(owner):
        item = int(data.query_items[query])
        pool = data.pool_items[data.pool_starts[query] : data.pool_starts[query + 1]]
        shown = tuple(pool[data.beam_picks[row]].tolist())
        answer = Answerer(world).result(WorkItem(item, shown))
        expected = SCORE(answer.text, world.answers(item))
        assert found.predictions[row] == answer.text
        assert data.outcomes[Outcome.ACC_SCORE][row] == np.float32(expected)
        assert data.outcomes[Outcome.CORRECT][row] == (expected >= 0.6)
        assert data.outcomes[Outcome.GT_PROB][row] == np.float32(answer.gt_prob)
        relevance = max(0.0, (unit[list(shown)] @ unit[item]).mean())
        assert data.outcomes[Outcome.REL_SCORE][row] == pytest.approx(relevance, abs=1e-6)
        seen.add(round(expected, 1))
    assert {0.0, 0.6, 0.9, 1.0} >= seen > {0.0}
    assert (data.outcomes[Outcome.REL_SCORE] == 0).any()
    assert Counter(found.proposers) == {"similarity": 20, "similarity_sampled": 60, "random": 80}
    assert found.counts == data.counts == {}


def test_one_of_ten_annotators_is_not_correct_but_two_are():
    """0.3 and 0.6, the accuracies on both sides of the border."""
    world = table()
    texts = {1: "one", 2: "two"}

    def answers(item):
        return ("one", "two", "two", *(f"x{number}" for number in range(7)))

    world.answers = answers
    world.shown_answer = lambda item: texts[1 + item % 2]
    data = run(world).dataset
    accuracies, correct = data.outcomes[Outcome.ACC_SCORE], data.outcomes[Outcome.CORRECT]
    assert set(np.unique(accuracies)) == {np.float32(0.3), np.float32(0.6)}
    np.testing.assert_array_equal(correct, accuracies == np.float32(0.6))


def test_order_of_the_results_changes_nothing_and_all_are_asked_once():
    first = Answerer(world := table(), chunk=1)
    one = collect(settings(), world, embeddings(world), first, SCORE)
    second = Answerer(world, chunk=1000)
    other = collect(settings(), world, embeddings(world), second, SCORE)
    assert one.dataset.fingerprint() == other.dataset.fingerprint()
    assert (one.predictions, one.proposers) == (other.predictions, other.proposers)
    assert first.asked == second.asked
    assert len(set(first.asked)) == len(first.asked) == len(one.predictions)
    queries = [item.query for item in first.asked]
    assert queries == sorted(queries)  # a query's items stand together, for whoever shares their prefixes


def test_failed_beams_are_left_out_and_queries_without_any_are_dropped():
    world = table()
    whole = run(world)
    data = whole.dataset
    lost = {int(data.query_items[3])}
    hurt = {int(data.query_items[5]), int(data.query_items[8])}
    bad = set(data.pool_items[data.pool_starts[5] : data.pool_starts[6]].tolist()[:3])

    def failing(item):
        return item.query in lost or (item.query in hurt and bool(bad & set(item.demonstrations)))

    found = run(world, failing=failing)
    failed = [item for item in propose_beams(settings(), world, embeddings(world)).work_items() if failing(item)]
    assert len(failed) > 8
    assert found.counts == {"failed_image": len(failed), "queries_without_answers": 1}
    assert found.dataset.queries == 19
    assert not lost & set(found.dataset.query_items.tolist())
    assert len(found.predictions) == len(whole.predictions) - len(failed) == len(found.dataset.beam_picks)
    kept = [query for query in range(20) if query != 3]
    np.testing.assert_array_equal(found.dataset.split, data.split[kept])
    untouched = [query for query in kept if int(data.query_items[query]) not in hurt]
    for query in untouched:
        now = int(np.flatnonzero(found.dataset.query_items == data.query_items[query])[0])
        one, other = (
            slice(*each.beam_starts[place : place + 2]) for each, place in ((data, query), (found.dataset, now))
        )
        np.testing.assert_array_equal(data.beam_picks[one], found.dataset.beam_picks[other])
        assert whole.predictions[one] == found.predictions[other]


def test_nothing_answered_or_no_validation_query_left_is_refused():
    with pytest.raises(DataError, match=r"no beam was answered \(160 failed_image\)"):
        run(failing=lambda item: True)
    data = run().dataset
    val = set(data.query_items[data.split == Split.VAL].tolist())
    with pytest.raises(DataError, match="no query is in the val split"):
        run(failing=lambda item: item.query in val)


def test_the_progress_ends_with_what_the_data_says():
    records = []
    found = run(report=records.append, failing=lambda item: sum(item.demonstrations) % 5 == 0)
    summary = describe(found.dataset, compute_rewards(found.dataset.outcomes, HARD_AND_SOFT))
    last = records[-1]
    assert [record.groups for record in records] == list(range(1, 21))
    assert (last.beams, last.beams_total, last.groups_total) == (160, 160, 20)
    assert last.failed == found.counts["failed_image"] > 0
    assert last.positive_beams_share == pytest.approx(summary.positive_beams_share)
    assert last.positive_groups_share == pytest.approx(summary.positive_groups_share)
    assert last.zero_variance_share == pytest.approx(sum(summary.zero_variance_groups.values()) / 20)
    validation = summary.queries[Split.VAL]
    assert last.validation_groups == validation > 0
    assert last.informative_validation_groups == validation - summary.zero_variance_groups[Split.VAL]
    assert 0 < last.positive_beams_share < 1
    assert 0 < last.zero_variance_share < 1


def test_a_service_that_breaks_its_promise_is_a_bug():
    world = table()
    items = list(propose_beams(settings(), world, embeddings(world)).work_items())
    right = [(item, Answer("topic1", 0.5, 9)) for item in items]
    for results, expected in (
        (right[:-1], "1 of 160 beams have no result"),
        ([*right, right[7]], "second result"),
        ([*right, (WorkItem(items[0].query, items[0].demonstrations[::-1] * 2), right[0][1])], "was not asked"),
        ([(WorkItem(items[0].query, (59, 58)), right[0][1])], "was not asked"),
        ([(items[0], Answer("topic1", None, 9))], "no gt_prob"),
    ):
        with pytest.raises(RuntimeError, match=expected):
            collect(settings(), world, embeddings(world), lambda asked, given=results: iter(given), SCORE)


def test_without_gt_prob_there_is_no_such_column():
    world = table()
    asked = settings(gt_prob=False)
    found = collect(
        asked, world, embeddings(world), lambda items: ((item, Answer("topic1", None, 9)) for item in items), SCORE
    )
    assert list(found.dataset.outcomes) == [Outcome.CORRECT, Outcome.ACC_SCORE, Outcome.REL_SCORE]


def test_small_pools_are_ragged_and_counted():
    world = table(14)
    asked = settings(build={"pool": {"size": 6}, "split": {"val": 0.4, "test": 0.35}}, beams={"random": 10})
    found = run(world, asked)
    sizes, groups = np.diff(found.dataset.pool_starts), np.diff(found.dataset.beam_starts)
    assert sizes.min() < 6
    np.testing.assert_array_equal(groups, np.minimum(sizes * (sizes - 1), 20))
    assert found.counts == {
        "short_pools": int((sizes < 6).sum()),
        "short_queries": int((groups < 20).sum()),
        "short_beams": int((20 - groups).sum()),
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rows": 59}, "59 rows for 60 items"),
        ({"nan": True}, "must be finite"),
        ({"zero": True}, "is all zero"),
        ({"pool": 7}, "has 5 candidates, but a beam has 7 picks"),
        ({"selector": True}, "width 5, these have 6"),
    ],
)
def test_unusable_input_is_refused_before_anything_is_asked(tmp_path, change, expected):
    world, asked = table(), settings()
    rows = embeddings(world)[: change.get("rows", 60)].copy()
    if "nan" in change:
        rows[3, 2] = np.nan
    if "zero" in change:
        rows[int(propose_beams(asked, world, rows).queries.query_items[0])] = 0
    if "pool" in change:
        world = table(14)
        rows = embeddings(world)
        asked = settings(build={"split": {"val": 0.3, "test": 0.3}}, picks=7)
    if "selector" in change:
        asked = settings(selector=exported(tmp_path / "selector", 5), beams={"selector_beam": 1})
    answerer = Answerer(world)
    with pytest.raises(DataError, match=expected) as caught:
        collect(asked, world, rows, answerer, SCORE)
    assert "\n" not in str(caught.value)
    assert not answerer.asked


def test_a_selector_proposes(tmp_path):
    beams = {"similarity": 1, "selector_beam": 3, "selector_sampled": 4, "similarity_sampled": 0, "random": 0}
    found = run(asked=settings(selector=exported(tmp_path / "selector"), beams=beams))
    assert Counter(found.proposers) == {"similarity": 20, "selector_beam": 60, "selector_sampled": 80}
    with pytest.raises(CheckpointError, match=r"config\.json"):
        run(asked=settings(selector=tmp_path / "none", beams=beams))


def test_stored_and_read_again(tmp_path):
    found = run()
    folder = tmp_path / "deep" / "collected"
    manifest = store_collected(found, stored_at(folder), "demo model, 160 beams")
    data = load(DataSettings(path=folder))
    assert data.fingerprint() == found.dataset.fingerprint() == manifest.fingerprint
    notes = {Note.PREDICTION: found.predictions, Note.PROPOSER: found.proposers, Note.ROUND: [1] * 160}
    assert read_notes(folder) == notes
    assert json.loads((folder / MANIFEST).read_text())["source"] == "demo model, 160 beams"
    assert [path.name for path in folder.parent.iterdir()] == ["collected"]


def test_an_existing_folder_is_never_changed(tmp_path):
    found = run()
    (tmp_path / "empty").mkdir()
    check_empty(tmp_path / "empty")
    check_empty(tmp_path / "missing")
    store_collected(found, stored_at(tmp_path / "empty"), "first")
    assert store_collected(found, stored_at(tmp_path / "empty"), "second").source == "first"
    with pytest.raises(DataError, match="not empty"):
        check_empty(tmp_path / "empty")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("mine")
    with pytest.raises(DataError, match=MANIFEST):
        store_collected(found, stored_at(tmp_path / "mine"), "x")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["note.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        check_empty(tmp_path / "file")
    with pytest.raises(DataError, match="cannot be written"):
        store_collected(found, stored_at(tmp_path / "file" / "inside"), "x")


def test_the_digest_sees_what_changes_the_data_and_nothing_else(tmp_path):
    vlm = VlmSettings.model_validate({"model": {"path": "demo"}})
    selector = exported(tmp_path / "one")
    moved = exported(tmp_path / "two")
    beams = {"selector_beam": 1}

    def digest(asked=None, items="i", rows="e", model="m", **changes):
        changed = VlmSettings.model_validate(vlm.model_dump() | changes)
        return collect_digest(settings() if asked is None else asked, items, rows, changed, model)

    assert digest() == digest(settings(embeddings=tmp_path / "x.npy"))
    assert digest() == digest(batching={"decode_rows": 3}, workers={"gpus": 1.0})
    different = [
        digest(),
        digest(settings(seed=1)),
        digest(settings(picks=3)),
        digest(settings(rounds={})),
        digest(settings(rounds={"give_up": 3})),
        digest(settings(held_out_beams={"random": 1})),
        digest(settings(budget={"prompts": 99})),
        digest(settings(metric="always")),
        digest(settings(similarity_temperature=0.2)),
        digest(items="j"),
        digest(rows="f"),
        digest(model="n"),
        digest(decoding={"num_beams": 3}),
        digest(prompt={"system": "Answer."}),
        digest(settings(selector=selector, beams=beams)),
    ]
    assert len(set(different)) == len(different)
    assert digest(settings(selector=selector, beams=beams)) == digest(settings(selector=moved, beams=beams))
    (moved / "model.safetensors").write_bytes(b"other")
    assert digest(settings(selector=selector, beams=beams)) != digest(settings(selector=moved, beams=beams))
    with pytest.raises(DataError, match="no such file"):
        digest(settings(selector=tmp_path / "none", beams=beams))
    rows = embeddings(table())
    assert embeddings_hash(rows) == embeddings_hash(np.asfortranarray(rows))
    assert embeddings_hash(rows) != embeddings_hash(rows[::-1])
