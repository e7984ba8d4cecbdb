"""What a plan will cost, held against what the engine counts and what a finished run asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from selector.data.dataset import Outcome
from sweep.evaluation.power import questions_to_tell
from sweep.evaluation.records import read_evaluation
from sweep.plan.cost import measure as measuring
from sweep.plan.cost.estimate import estimate
from sweep.plan.cost.measure import measure
from sweep.plan.cost.prompts import prompt_cost
from sweep.plan.cost.records import Cost, Phase
from sweep.plan.cost.sample_size import sample_size
from sweep.plan.cost.work import Works, train_work, warm_ups
from sweep.plan.machine import Machine
from sweep.plan.make import make_plan
from sweep.plan.plan import CollectionPlan, Plan
from sweep.plan.requests import request_of_run, request_of_space
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.settings.evaluation import EvaluationSettings
from sweep.space import load_space
from sweep.storage.local import stored_at
from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.answers.writer import AnswerWriter
from sweep.vlm.engine.engine import Engine
from sweep.vlm.keys import answer_key, model_identity, score_key
from sweep.vlm.work import Answer
from tests.sweep.finished import SPACE

TWO_CORES = Machine(cpus=2, gpus=0, cards=0)


@pytest.fixture(scope="module")
def collection(finished: RunPaths, tmp_path_factory: pytest.TempPathFactory) -> CollectionPlan:
    """The plan of the run `finished` as it was before its data was measured, on the same items."""
    folder = tmp_path_factory.mktemp("cost")
    (items,) = (finished.shared.root / "items").local().iterdir()
    file = folder / "world.yaml"
    lines = [line for line in SPACE.splitlines() if not line.startswith("  demo:")]
    file.write_text("\n".join(lines).replace("items:", f"items: {{path: {items}}}"))
    plan = make_plan(request_of_space(str(file), SharedPaths.beside(stored_at(folder))))
    assert isinstance(plan, CollectionPlan)
    return plan


@pytest.fixture(scope="module")
def works(collection: CollectionPlan) -> Works:
    return Works.of(collection)


@pytest.fixture(scope="module")
def finished_plan(finished: RunPaths) -> Plan:
    plan = make_plan(request_of_run(finished))
    assert isinstance(plan, Plan)
    return plan


def phase(cost: Cost, name: str) -> Phase:
    return next(one for one in cost.phases if one.name == name)


def test_prompts_and_tokens_are_those_that_the_engine_counts(collection: CollectionPlan, works: Works) -> None:
    work, checkpoint = works.answers[0], works.checkpoint
    assert checkpoint is not None and work.phase == "collect"
    assert work.prompts == len(list(collection.beams.work_items()))
    part = work.sample[: work.vlm.workers.batch]
    cost = prompt_cost(replace(work, sample=part), checkpoint)
    engine = Engine(collection.vlm)
    results = engine.answer(work.table, part, work.score)
    told = [one.prompt_tokens for one in results if isinstance(one, Answer)]
    counted = engine.statistics
    assert counted.prefill_tokens + counted.shared_tokens == sum(told)
    assert cost.tokens == pytest.approx(np.mean(told) * work.prompts)
    assert cost.computed == pytest.approx(counted.prefill_tokens / len(part) * work.prompts, rel=0.01)
    assert cost.longest == max(told)
    everywhere = prompt_cost(work, checkpoint)
    assert everywhere.tokens == pytest.approx(cost.tokens, rel=0.1)


def test_known_prompts_are_told_from_new_ones(collection: CollectionPlan, works: Works) -> None:
    before = phase(estimate(collection, works, TWO_CORES), "collect")
    assert before.amounts["known"] == 0
    work, identity = works.answers[0], model_identity(collection.vlm.model)
    queries = sorted({item.query for item in work.stored})
    with AnswerWriter(AnswerStore(collection.request.shared.answers_folder), "demo") as writer:
        for item in work.stored:
            if item.query in queries[::2]:
                key = answer_key(identity, work.vlm, work.table, item, "cpu")
                writer.add(item, Wanted(key, score_key(work.table, item)), Answer("red", 0.5, 10))
    after = phase(estimate(collection, works, TWO_CORES), "collect")
    share = after.amounts["known"] / work.prompts
    assert share == pytest.approx(0.5, abs=0.1) and after.flops == pytest.approx(before.flops * (1 - share))


def test_the_evaluation_asks_at_most_what_is_said(finished: RunPaths, finished_plan: Plan) -> None:
    cost = estimate(finished_plan, Works.of(finished_plan), TWO_CORES)
    asked = read_evaluation(finished.evaluation("declared").file).work_items
    said = phase(cost, "evaluate").amounts["prompts"]
    assert 0.4 * said < asked <= said and phase(cost, "evaluate").at_most
    trained = phase(cost, "train").amounts
    epochs = sum(len((trial / "epochs.jsonl").read_text().splitlines()) for trial in finished.trials_folder.glob("0*"))
    assert trained["trials"] == 5 and trained["trained again"] == 2 and epochs <= trained["epochs"]


def test_speeds_are_taken_with_the_real_engine_and_the_real_stages(
    collection: CollectionPlan, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "SECONDS", dict.fromkeys(measuring.SECONDS, 0.0))  # one batch of each
    speeds = measure(collection.space, works)
    cost = estimate(collection, works, TWO_CORES, speeds)
    assert {one.name for one in cost.phases} == {"collect", "train", "evaluate"} and cost.measured == "the CPU"
    for one in cost.phases:
        assert one.seconds is not None and 0 < one.seconds < 3600 and not one.gpu_seconds and one.workers == 2
    alone = estimate(collection, works, Machine(cpus=1, gpus=0, cards=0), speeds)
    for one, two in zip(alone.phases, cost.phases, strict=True):
        assert one.seconds == pytest.approx(2 * (two.seconds or 0))


@pytest.mark.parametrize(("name", "number"), [("grpo", 1), ("okvqa", 3), ("plans", 3)])
def test_warm_ups_of_shipped_spaces(name: str, number: int) -> None:
    assert warm_ups(load_space(name)) == number


def test_epochs_count_shared_warm_ups_once_and_finalists(finished_plan: Plan) -> None:
    work = train_work(load_space("plans"), finished_plan.dataset, 768)
    assert (work.trials, work.finalists) == (48, 48)
    assert work.rce == 3 * 5 + 48 * 5 and work.grpo == 48 * 10 + 48 * 10


def test_sample_sizes_follow_from_the_variance_of_measured_beams(finished_plan: Plan) -> None:
    dataset = finished_plan.dataset
    found = sample_size(EvaluationSettings(top=4), dataset, 800)
    values = dataset.outcomes[Outcome.ACC_SCORE]
    squares = []
    for start, end in zip(dataset.beam_starts[:-1], dataset.beam_starts[1:], strict=True):
        group = values[start:end].astype(float)
        pairs = (group[:, None] - group[None]) ** 2
        squares.append(pairs.sum() / (len(group) * (len(group) - 1)))
    assert found.is_measured and found.variance == pytest.approx(np.mean(squares))
    assert found.questions[1] == questions_to_tell(found.variance**0.5, 1, 0.01, 0.05 / 4)
    assert found.told is not None
    again = questions_to_tell(found.variance**0.5, 1, found.told / 100, 0.05 / 4)
    assert again in (800, 801)  # rounded up
    assumed = sample_size(None, None, None)
    assert not assumed.is_measured and assumed.told is None and assumed.questions[1] > 10_000
