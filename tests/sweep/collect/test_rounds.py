"""Further rounds: who gets more beams, exactly how many, and the same ones whatever happened on the way."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as test_settings
from hypothesis import strategies as st

from selector.config import SelectorConfig
from selector.data.dataset import Outcome, Split
from selector.errors import DataError
from selector.model import build_selector
from sweep.collect.beams import propose_beams
from sweep.collect.hours import HoursSpent
from sweep.collect.measure import collected_of
from sweep.collect.online import selector_fingerprint
from sweep.collect.outcomes import is_correct
from sweep.collect.prompts import prompts_by_round
from sweep.collect.proposers import credit
from sweep.collect.rounds import check_budget, collect_in_rounds, wanted_beams
from sweep.collect.store import store_collected
from sweep.settings.rounds import RoundsSettings
from sweep.storage.local import stored_at
from sweep.trials.checkpoints import write_checkpoint
from sweep.vqa import AnswerNormalisation, accuracy
from tests.sweep.collect.worlds import WIDTH, Answerer, embeddings, measured, settings, table

SCORE = partial(accuracy, normalisation=AnswerNormalisation.OFFICIAL)
FIRST = {"similarity": 1, "similarity_sampled": 2, "random": 1}
HELD_OUT = {"similarity": 1, "similarity_sampled": 3, "random": 4}
WORLD = table(120, images=60)
ROWS = embeddings(WORLD)
BUILD = {"count": 40, "pool": {"size": 9}, "split": {"val": 0.2, "test": 0.2}}


def asked(rounds=None, **values):
    base = {"build": BUILD, "beams": FIRST, "held_out_beams": HELD_OUT, "rounds": rounds}
    return settings(**base | values)


def run(wanted, answerer=None, is_spent=None, **values):
    answer = answerer or Answerer(WORLD)
    first = propose_beams(wanted, WORLD, ROWS)
    return collect_in_rounds(
        wanted, first, partial(measured, world=WORLD, answer=answer, score=SCORE), is_spent, **values
    )


def groups(found):
    """Per query: split, rounds and accuracies of its beams."""
    beams = found.measured.beams
    for query in range(len(beams.queries)):
        rows = slice(beams.beam_starts[query], beams.beam_starts[query + 1])
        yield int(beams.queries.split[query]), beams.rounds[rows], found.measured.accuracy[rows]


def content(found):
    data = collected_of(found.measured)
    return data.dataset.fingerprint(), data.predictions, data.proposers, data.rounds, found.rounds


ROUNDS = st.fixed_dictionaries(
    {
        "most": st.integers(1, 4),
        "beams": st.fixed_dictionaries(
            {"combined": st.integers(0, 3), "random": st.integers(1, 3), "similarity_sampled": st.integers(0, 2)}
        ),
        "until": st.sampled_from(["largest", "contrast"]),
        "give_up": st.one_of(st.none(), st.integers(0, 9)),
        "largest": st.integers(4, 20),
    }
)


@given(ROUNDS, st.integers(150, 700), st.integers(1, 3), st.integers(0, 5))
@test_settings(max_examples=12, deadline=None)
def test_beams_are_new_and_valid_and_held_out_groups_stay_uniform(rounds, budget, picks, seed):
    whole_settings = asked(rounds, picks=picks, seed=seed)
    answerer, cut_answerer = Answerer(WORLD), Answerer(WORLD)
    whole = run(whole_settings, answerer)
    cut = run(asked(rounds, picks=picks, seed=seed, budget={"prompts": budget}), cut_answerer)
    assert len(set(answerer.asked)) == len(answerer.asked) == sum(one.prompts for one in whole.rounds)
    assert len(cut_answerer.asked) == min(budget, len(answerer.asked))
    assert set(cut_answerer.asked) <= set(answerer.asked)
    assert cut.is_cut == (budget < len(answerer.asked))
    most = prompts_by_round(whole_settings, train=40, held_out=40)
    assert all(one.prompts <= bound for one, bound in zip(whole.rounds, most, strict=False))
    for found in (whole, cut):
        beams = found.measured.beams
        held_out = set(WORLD.images[beams.queries.query_items[beams.queries.split != Split.TRAIN]].tolist())
        assert not held_out & set(WORLD.images[beams.queries.pool_items].tolist())
        sizes = np.diff(beams.queries.pool_starts)[np.repeat(np.arange(len(beams.queries)), np.diff(beams.beam_starts))]
        assert (beams.beam_picks >= 0).all() and (beams.beam_picks < sizes[:, None]).all()
        assert all(len(set(picks)) == len(picks) for picks in beams.beam_picks.tolist())
        shown = [(query, *picks) for query in range(len(beams.queries)) for picks in beams.shown(query).tolist()]
        assert len(set(shown)) == len(shown)
        for split, numbers, values in groups(found):
            if split != Split.TRAIN:
                assert len(numbers) == 8 and (numbers == 1).all()
            elif len(numbers):
                assert (np.diff(numbers) >= 0).all()
                assert len(numbers) <= max(4, rounds["largest"])
                if rounds["give_up"] is not None and not is_correct(values).any():
                    assert len(numbers) <= max(4, rounds["give_up"])


@pytest.mark.parametrize(
    ("rules", "accuracies", "wanted"),
    [
        ({"give_up": 0}, [0, 0, 0.3], 0),
        ({"give_up": 0}, [0, 0, 0.6], 5),
        ({"give_up": 5}, [0, 0, 0], 2),
        ({"give_up": 5}, [0, 0, 0, np.nan, 0], 0),
        ({"give_up": None}, [0, 0, 0], 5),
        ({"give_up": None, "largest": 4}, [0, 0, 0], 1),
        ({"give_up": None, "until": "contrast"}, [0, 0.3, 0], 0),
        ({"give_up": None, "until": "contrast"}, [1, 1, 1], 5),
        ({"give_up": None, "until": "contrast"}, [np.nan, 0, 0], 5),
        ({"give_up": None}, [np.nan, np.nan], 0),
        ({"give_up": 0, "largest": 2}, [1, 1, 1], 0),
    ],
)
def test_who_gets_more_beams(rules, accuracies, wanted):
    rounds = RoundsSettings.model_validate({"beams": {"combined": 2, "random": 3}} | rules)
    assert wanted_beams(rounds, np.array(accuracies, dtype=np.float32)) == wanted


def test_balanced_data_of_the_earlier_project_is_a_special_case():
    """More beams for every group whose outcomes are all alike, until there are two levels or so many beams."""
    beams = {"combined": 0, "random": 4}
    found = run(asked({"most": 20, "beams": beams, "until": "contrast", "give_up": None, "largest": 11}))
    sizes = Counter[bool]()
    for split, numbers, values in groups(found):
        if split == Split.TRAIN:
            earlier = values[numbers < numbers.max()]
            assert len(numbers) in (4, 8, 11)  # 11 - 8 is less than a whole round
            assert len(numbers) == 4 or len(np.unique(earlier)) == 1
            sizes[len(np.unique(values)) == 1] += 1
            assert len(np.unique(values)) > 1 or len(numbers) == 11
    assert sizes[True] and sizes[False]


def test_combinations_are_of_what_answered_best():
    picks = np.array([[0, 1], [2, 3], [0, 4]])
    found = credit(picks, np.array([1, 0, np.nan], dtype=np.float32), 6)
    np.testing.assert_allclose(found, [0.75, 0.75, 0.25, 0.25, 0.5, 0.5])
    combined = run(asked({"most": 1, "beams": {"combined": 4, "random": 0}, "credit_temperature": 0.01}))
    uniform = run(asked({"most": 1, "beams": {"combined": 0, "random": 4}}))
    means = []
    for one in (combined, uniform):
        later = [values[numbers == 2] for split, numbers, values in groups(one) if (numbers == 2).any()]
        means.append(float(np.concatenate(later).mean()))
    assert means[0] > means[1] + 0.05


ONLINE = {
    "most": 2,
    "beams": {"combined": 0, "selector_sampled": 2, "random": 1},
    "online": {"model": {"hidden": 8, "heads": 2}, "rce": {"epochs": 1}},
}


class Stopping:
    """Answers once each, as a store does, until so many are stored. Then somebody stops it, once."""

    def __init__(self, stop):
        self.known, self.stop, self.answerer = {}, stop, Answerer(WORLD)

    def __call__(self, items):
        items = list(items)
        for item, result in self.answerer(item for item in items if item not in self.known):
            if len(self.known) == self.stop:
                self.stop = None
                self.answerer.asked.clear()
                raise KeyboardInterrupt
            self.known[item] = result
        return [(item, self.known[item]) for item in items]


def test_stopped_anywhere_it_ends_with_the_same_bytes(tmp_path):
    wanted = asked(ONLINE)
    undisturbed = run(wanted)
    assert [(one.number, one.selector is None) for one in undisturbed.rounds] == [(1, True), (2, False), (3, False)]
    store_collected(collected_of(undisturbed.measured), stored_at(tmp_path / "whole"), "rule")
    ends = np.cumsum([one.prompts for one in undisturbed.rounds])
    for stop in (ends[0], ends[1] + 1):  # between rounds and within one
        answer = Stopping(stop)
        with pytest.raises(KeyboardInterrupt):
            run(wanted, answer)
        found = run(wanted, answer)
        assert len(answer.answerer.asked) == ends[-1] - stop
        assert found.rounds == undisturbed.rounds
        store_collected(collected_of(found.measured), stored_at(tmp_path / str(stop)), "rule")
        for file in (tmp_path / "whole").iterdir():
            assert file.read_bytes() == (tmp_path / str(stop) / file.name).read_bytes()
    assert run(asked(ONLINE, seed=1)).rounds != undisturbed.rounds


def test_a_given_selector_proposes_in_further_rounds(tmp_path):
    config = SelectorConfig(WIDTH, hidden=8, layers=1, heads=2, decoder="gate", temperature=0.1, dropout=0.0)
    model = build_selector(config, 0)
    write_checkpoint(stored_at(tmp_path / "selector"), dict(model.state_dict()), {}, model.config_dict())
    beams = {"combined": 0, "selector_beam": 2, "random": 0}
    found = run(asked({"most": 2, "beams": beams, "give_up": None}, selector=tmp_path / "selector"))
    assert [one.selector for one in found.rounds] == [None, *[selector_fingerprint(model)] * 2]
    assert Counter(collected_of(found.measured).proposers)["selector_beam"] == sum(
        one.prompts for one in found.rounds[1:]
    )


def test_hours_stop_between_blocks_and_prompts_repeat_what_they_gave(tmp_path, monkeypatch):
    monkeypatch.setattr("sweep.collect.rounds.BLOCK", 5)
    rounds = {"most": 3, "beams": {"combined": 2, "random": 1}, "give_up": None}
    clock, file = count(0, 600), stored_at(tmp_path / "hours.json")  # ten minutes for every look
    limit = HoursSpent(file, 1.0, clock=lambda: next(clock))
    found = run(asked(rounds, budget={"hours": 1.0}), is_spent=limit)
    asked_so_far = sum(one.prompts for one in found.rounds)
    assert found.is_cut
    again = run(asked(rounds, budget={"prompts": asked_so_far}))
    assert content(again) == content(found)
    # another process after the end stops at the same prompt, whatever its clock says
    later = run(asked(rounds, budget={"hours": 1.0}), is_spent=HoursSpent(file, 1.0, clock=lambda: 0.0))
    assert content(later) == content(found)
    limit.forget()
    assert not file.exists()


def test_hours_of_several_processes_add_up(tmp_path):
    file, time = stored_at(tmp_path / "hours.json"), [0.0]
    first = HoursSpent(file, 1.0, clock=lambda: time[0])
    time[0] = 3000.0
    assert not first(100)
    time[0] = 9000.0  # killed before it could store the next block
    second = HoursSpent(file, 1.0, clock=lambda: time[0])
    time[0] = 9500.0
    assert not second(50) and not second(100)  # known blocks cost nothing
    time[0] = 10_200.0
    assert second(150)  # 3000 + 700 seconds
    file.write_text("{")
    with pytest.raises(DataError, match=r"hours.json: damaged; delete it"):
        HoursSpent(file, 1.0)


def test_a_budget_that_leaves_nothing_for_training_is_refused():
    held_out = sum(len(numbers) for split, numbers, _ in groups(run(asked())) if split != Split.TRAIN)
    first = propose_beams(asked(), WORLD, ROWS)
    check_budget(asked(budget={"prompts": held_out + 1}), first)
    with pytest.raises(
        DataError, match=rf"{held_out} prompts, but the \d+ validation and test queries.*take {held_out}"
    ):
        check_budget(asked(budget={"prompts": held_out}), first)


def test_failed_beams_are_not_asked_again_and_a_dead_query_gets_no_more():
    first = propose_beams(asked(), WORLD, ROWS)
    train = first.queries.query_items[first.queries.split == Split.TRAIN]
    dead = int(train[0])
    answerer = Answerer(WORLD, failing=lambda item: item.query == dead or sum(item.demonstrations) % 7 == 0)
    found = run(asked({"most": 3, "give_up": None}), answerer)
    assert len(set(answerer.asked)) == len(answerer.asked)
    assert Counter(item.query for item in answerer.asked)[dead] == 4
    data = collected_of(found.measured)
    assert data.counts["failed_image"] == sum(answerer.failing(item) for item in answerer.asked)
    assert data.counts["queries_without_answers"] >= 1
    assert not np.isnan(data.dataset.outcomes[Outcome.ACC_SCORE]).any()


def test_without_rounds_all_is_asked_at_once_as_ever():
    one = run(asked())
    batches = []

    def answer(items):
        items = list(items)
        batches.append(len(items))
        return Answerer(WORLD)(items)

    assert content(run(asked(), answer)) == content(one)
    assert batches == [one.rounds[0].prompts]
    assert prompts_by_round(asked(), *np.bincount([split > 0 for split, *_ in groups(one)])) == (batches[0],)
