"""A finished run with everything that a run can hold, made in seconds: no Ray, and a rule answers in the model's place.

Collected data, pruned and complete trials, finalists, an evaluation with racing and train rows, a ranking, and the
seal. Each part is made by the code that makes it in a real run.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from sweep.collect.measure import Measurement
from sweep.collect.store import store_collected
from sweep.driver.create import NewRun, create_run
from sweep.driver.session import Session, open_session
from sweep.driver.trial_records import TrialRecords
from sweep.evaluation.answer_table import write_answers
from sweep.evaluation.evaluate import evaluate
from sweep.evaluation.records import Evaluation, SourceRecord
from sweep.execution.coordinator import Coordinator, Next
from sweep.execution.hyperparameters import HyperparameterEvents
from sweep.execution.ray.options import RayOptions
from sweep.items import ItemTable
from sweep.plan.make import make_plan, plan_of_collected
from sweep.plan.plan import CollectionPlan, Plan
from sweep.plan.requests import request_of_space
from sweep.results.audit import with_audit
from sweep.results.importance import importance_of_val_loss
from sweep.results.importance_note import importance_note
from sweep.results.policies import given_policies, panel_of, policies
from sweep.results.ranking import ranking_document
from sweep.results.seal import seal
from sweep.results.verdict import verdict_by_answers
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.settings.evaluation import SplitName
from sweep.storage.hashes import canonical_hash
from sweep.storage.local import stored_at
from sweep.study import StudyOwner, TrialSummary
from sweep.study.ranking import rank
from sweep.trials.finalists import finalists, retrain
from sweep.trials.given import keep_given
from sweep.trials.trial import Trial, load_shared
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem
from sweep.vqa.accuracy import AnswerNormalisation, accuracy
from tests.sweep.plans import screen_on

SPACE = """
name: world
items:
  demo: {demonstrations: 200, train: 40, val: 16, test: 40, concepts: 16, smallest_pool: 16, largest_pool: 16}
vlm:
  model: {path: demo}
  images: {min_pixels: 784, max_pixels: 12544}
  decoding: {max_new_tokens: 8}
collect:
  beams: {similarity: 1, similarity_sampled: 5, random: 2}
trial:
  model: {hidden: 16, heads: 4}
  rce: {epochs: 2, lr: 2e-3, reward: {mode: hard_plus_soft}}
  grpo: {epochs: 3}
validation: {metric: listwise}
parameters:
  grpo.lr: {type: float, low: 1e-3, high: 4e-3, log: true}
  reward.mode: {type: categorical, choices: [hard_plus_soft, soft_only]}
sampler: {type: tpe, n_startup_trials: 2}
pruner: {type: median, n_startup_trials: 2}
budget: {trials: 5}
evaluation:
  {shots: 3, samples: null, top: 2, epochs_per_trial: 2, resamples: 1000, train_rows: true,
   racing: {start: 20, growth: 2.0}, finalists: {count: 1, seeds: 2}}
"""


def rule(table: ItemTable, item: WorkItem) -> Result:
    """An answer in the model's place: right more often where there are more demonstrations."""
    drawn = int(canonical_hash([item.query, item.demonstrations])[:8], 16)
    if drawn % 97 == 0:
        return Failure(FailureKind.TOO_LONG, "more tokens than the context")
    right = drawn % 10 < 3 + len(item.demonstrations)
    return Answer(table.answers(item.query)[0] if right else "nothing", 0.5, 10)


def finished_run(folder: Path, space: str = SPACE) -> RunPaths:
    """The run `mine` in this folder."""
    file = folder / "world.yaml"
    file.write_text(space)
    collection = make_plan(request_of_space(str(file), SharedPaths.beside(stored_at(folder))))
    assert isinstance(collection, CollectionPlan)
    paths = create_run(collection, NewRun(stored_at(folder), "mine"))
    plan = collected(collection)
    with open_session(paths, RayOptions(), screen_on(io.StringIO())) as session:
        session.name_data(plan)
        session.check_unchanged(plan)
        if plan.init is not None:
            keep_given(paths, plan.init)
        ranked = trained(plan, session)
        evaluation = evaluated(plan, ranked, session)
        paths.ranking_file.write_json(ranking_document(plan, ranked, [], evaluation))
        seal(paths)
    return paths


def collected(plan: CollectionPlan) -> Plan:
    score = partial(accuracy, normalisation=plan.settings.metric)
    measurement = Measurement(plan.beams, plan.items, score, gt_prob=plan.settings.gt_prob)
    for item in plan.beams.work_items():
        measurement.add(item, rule(plan.items, item))
    store_collected(measurement.collected(), plan.folder, "a rule")
    return plan_of_collected(plan)


def trained(plan: Plan, session: Session) -> list[TrialSummary]:
    """As `sweep.driver.training.train`, one trial at a time in this process."""
    paths, record = session.paths, session.record
    owner = StudyOwner.open(record.storage_url(paths), record.study, plan.space)
    coordinator = Coordinator(owner, 1, [TrialRecords(paths, owner), HyperparameterEvents(paths, plan.space)])
    context = session.trial_context(plan)
    data, evaluator = load_shared(plan.dataset, context, 0)
    while not isinstance(asked := coordinator.next_trial(), Next):
        for result in Trial(context, paths, asked.number, asked.settings, data, evaluator):
            if not coordinator.epoch(result):
                break
        coordinator.gone(asked.number)
        paths.trial(asked.number).resume_folder.remove()
    assert coordinator.error is None
    owner.note_study(importance_note(importance_of_val_loss(plan.space, owner.trials())))
    ranked = rank(owner.summaries())
    owner.close()
    return ranked


def evaluated(plan: Plan, ranked: Sequence[TrialSummary], session: Session, name: str = "declared") -> Evaluation:
    """As `sweep.driver.evaluation.evaluate_trials`, answered by the rule."""
    assert plan.evaluation is not None
    paths, settings, table = session.paths, plan.evaluation.settings, plan.evaluation.items
    context = session.trial_context(plan)
    data, evaluator = load_shared(plan.dataset, context, 0)
    wanted = finalists(paths, [row for row in ranked if row.is_complete], settings.finalists.count, 2)
    again = [retrain(context, paths, one, data, evaluator) for one in wanted]
    shots = settings.shot_numbers[-1]
    own = policies(paths, ranked, settings.top, settings.epochs_per_trial, again, shots)
    found = [*given_policies(paths, settings), *own]

    def ask(items: Sequence[WorkItem]) -> Mapping[WorkItem, Result]:
        return {item: rule(table, item) for item in items}

    def score(item: int, text: str, normalisation: AnswerNormalisation) -> float:
        return accuracy(text, table.answers(item), normalisation)

    panel = panel_of(plan.dataset, table, settings.split, found, settings)
    train = panel_of(plan.dataset, table, SplitName.TRAIN, found, settings) if settings.train_rows else None
    verdicts = [row.verdicts for row in ranked if row.is_complete]
    result = evaluate(panel, settings, ask, score, train, verdicts)
    source = SourceRecord(model="demo", answers={}, items=table.fingerprint())
    evaluation = with_audit(result.evaluation.replace(source=source), plan, found)
    evaluation = evaluation.replace(sentence=verdict_by_answers(evaluation).sentence)
    place = paths.evaluation(name)
    write_answers(place.answers_file, result.answers)
    evaluation.write(place.file)
    return evaluation
