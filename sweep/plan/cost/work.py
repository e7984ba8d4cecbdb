"""What a plan will ask and train at most: counts alone, with a sample of the prompts. Nothing is rendered or measured.

An evaluation's prompts follow from trials that do not exist yet. Stand-ins for their rows select at random, which is
the most that rows can differ: trials that agree share prompts, so that fewer are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from selector.data import Dataset, Split
from selector.training.stage import training_queries
from sweep.collect.prompts import prompts_by_round
from sweep.evaluation.questions import Questions, choose_questions
from sweep.evaluation.rows import Selections, select_nothing, select_randomly, select_similar
from sweep.items import ItemTable
from sweep.plan.cost.beam_set import BeamSet
from sweep.plan.cost.checkpoint import Checkpoint
from sweep.plan.plan import AnyPlan, EmbeddingPlan, EvaluationPlan, Plan
from sweep.settings.embed import EmbedSettings, Inputs
from sweep.settings.evaluation import EvaluationSettings, evaluation_splits
from sweep.settings.vlm import VlmSettings
from sweep.space import SearchSpace
from sweep.space.model import extremes
from sweep.vlm.work import WorkItem

SAMPLED_QUERIES = 48
WARM_UP_SECTIONS = ("model.", "rce.", "train_queries", "seed")


@dataclass(frozen=True)
class AnswerWork:
    """Prompts that one phase asks.

    Attributes:
        phase: `collect` or `evaluate`.
        questions: whose prompts they are.
        prompts: how many, different ones.
        images: different images that they show.
        sample: whole queries' prompts, sorted.
        stored: of the sample, or beside it, prompts that are known to be asked whatever the trials select.
        stored_share: which share of all prompts `stored` stands for.
        score: whether the ground-truth answers are scored too.
        at_most: whether it may be less.
    """

    phase: str
    vlm: VlmSettings
    table: ItemTable
    questions: int
    prompts: int
    images: int
    sample: tuple[WorkItem, ...]
    stored: tuple[WorkItem, ...]
    stored_share: float
    score: bool
    at_most: bool


@dataclass(frozen=True)
class TrainWork:
    """Epochs that trials train at most.

    Attributes:
        trials: how many. None where only hours or a lack of improvement end the sweep; then epochs are of one trial.
        rce, grpo: epochs over all trials, warm-ups that trials share counted once, finalists included.
        queries: of one epoch.
        dataset: what is trained on. Where it is still to be made, it is drawn, which costs the same.
        width: of the embeddings. Drawn ones are narrower.
    """

    trials: int | None
    finalists: int
    rce: int
    grpo: int
    queries: int
    dataset: Dataset
    width: int


@dataclass(frozen=True)
class EmbedWork:
    """Different images and questions that are embedded first.

    Attributes:
        settings: the section `embed`.
        vlm: the section `vlm`, if there is one.
        images, questions: how many; 0 where that kind is not embedded.
        width: of the embeddings.
    """

    settings: EmbedSettings
    vlm: VlmSettings | None
    table: ItemTable
    images: int
    questions: int
    width: int


def embed_work(plan: EmbeddingPlan) -> EmbedWork:
    """What a plan embeds."""
    kinds, table = plan.settings.inputs.parts, plan.items
    images = len(np.unique(table.image_ids())) if Inputs.IMAGE in kinds else 0
    questions = len({table.question(item) for item in range(len(table))}) if Inputs.QUESTION in kinds else 0
    return EmbedWork(plan.settings, plan.space.vlm, table, images, questions, plan.width)


def _collection(beams: BeamSet) -> AnswerWork:
    queries, shown = beams.queries, beams.shown
    train = int((queries.split == int(Split.TRAIN)).sum())
    rounds = prompts_by_round(beams.settings, train, first=len(shown))
    sample = tuple(
        WorkItem(int(queries.query_items[query]), tuple(demonstrations))
        for query in _some(len(queries))
        for demonstrations in shown[beams.starts[query] : beams.starts[query + 1]].tolist()
    )
    images = beams.items.image_ids()[np.concatenate([shown.reshape(-1), queries.query_items])]
    return AnswerWork(
        phase="collect",
        vlm=beams.vlm,
        table=beams.items,
        questions=len(queries),
        prompts=sum(rounds),
        images=len(np.unique(images)),
        sample=tuple(sorted(sample)),
        stored=sample,
        stored_share=rounds[0] / sum(rounds),
        score=beams.settings.gt_prob,
        at_most=len(rounds) > 1,
    )


def _some(count: int) -> list[int]:
    """Places of a few of so many, from all over them."""
    return sorted({*np.linspace(0, count - 1, SAMPLED_QUERIES).astype(np.int64).tolist()})


def _evaluation(space: SearchSpace, plan: EvaluationPlan, dataset: Dataset) -> AnswerWork:
    settings, table = plan.settings, plan.items
    image_ids = table.image_ids()
    fixed = int(settings.no_demonstrations) + (1 + settings.random_draws) * len(settings.shot_numbers)
    rows = warm_ups(space, settings) + settings.top * settings.epochs_per_trial
    rows += settings.finalists.count * settings.finalists.seeds
    asked, sample, stored, shown = 0, [], [], []
    for split in evaluation_splits(settings):
        questions = choose_questions(dataset, split, settings.samples, settings.seed, image_ids.tolist())
        asked += len(questions)
        places = _some(len(questions))
        references = [
            *([select_nothing(questions, settings.shot_numbers[-1])] if settings.no_demonstrations else []),
            select_randomly(questions, settings.shot_numbers[-1], settings.random_draws, settings.seed),
            select_similar(questions, dataset, settings.shot_numbers[-1]),
        ]
        stand_ins = select_randomly(questions, settings.shot_numbers[-1], max(rows, 1), settings.seed + 1)
        stored += _prompts(questions, references, settings.shot_numbers, places)
        sample += _prompts(questions, [stand_ins] if rows else [], settings.shot_numbers, places)
        shown += [questions.items_Q, questions.pools_QK[questions.pools_QK >= 0]]
    prompts = asked * (fixed + rows * len(settings.shot_numbers))
    images = len(np.unique(image_ids[np.concatenate(shown)])) if shown else 0
    return AnswerWork(
        phase="evaluate",
        vlm=plan.vlm,
        table=table,
        questions=asked,
        prompts=prompts,
        images=min(images, prompts * (settings.shot_numbers[-1] + 1)),
        sample=tuple(sorted({*sample, *stored})),
        stored=tuple(sorted({*stored})),
        stored_share=asked * fixed / max(prompts, 1),
        score=False,
        at_most=True,
    )


def _prompts(
    questions: Questions, rows: Sequence[Selections], shots: Sequence[int], places: Sequence[int]
) -> list[WorkItem]:
    return [
        WorkItem(int(questions.items_Q[place]), row.demonstrations(draw, place, number))
        for row in rows
        for place in places
        for draw in range(len(row.picks_DQS))
        for number in shots
    ]


def warm_ups(space: SearchSpace, settings: EvaluationSettings | None = None) -> int:
    """Different warm-ups of a space's trials, at most; with `settings`, of those that an evaluation compares."""
    sections = WARM_UP_SECTIONS if space.trial.rce.reward is not None else (*WARM_UP_SECTIONS, "reward.")
    counts = [space.parameters[path].count for path in space.distributions if path.startswith(sections)]
    many = None if None in counts else space.repeats * prod(count for count in counts if count is not None)
    limits = [many, space.budget.trials, None if settings is None else settings.top]
    return min((limit for limit in limits if limit is not None), default=1)


def train_work(space: SearchSpace, dataset: Dataset, width: int) -> TrainWork:
    """The trainings of a space. Pruning makes it less."""
    rce, grpo = space.epochs()
    trials, evaluation = space.budget.trials, space.evaluation
    finalists = 0 if evaluation is None else evaluation.finalists.count * evaluation.finalists.seeds
    sizes = [space.trial.replace(train_queries=wanted) for wanted in extremes(space, "train_queries")]
    return TrainWork(
        trials=trials,
        finalists=finalists,
        rce=warm_ups(space) * rce + finalists * rce,
        grpo=(trials or 1) * grpo + finalists * grpo,
        queries=max(len(training_queries(dataset, one)) for one in sizes),
        dataset=dataset,
        width=width,
    )


@dataclass(frozen=True)
class Works:
    """What a plan will do, before anything is said of it. `beams` are those that are still to be measured."""

    embed: EmbedWork | None
    answers: tuple[AnswerWork, ...]
    training: TrainWork
    checkpoint: Checkpoint | None
    beams: int

    @classmethod
    def of(cls, plan: AnyPlan) -> Works:
        """Raises ModelError where the checkpoint's small files cannot be read, SpaceError where no run follows."""
        embed = embed_work(plan) if isinstance(plan, EmbeddingPlan) else None
        if isinstance(plan, Plan):
            beams, dataset, width = None, plan.dataset, plan.dataset.width
            asked = plan.evaluation
        else:
            beams = BeamSet.drawn(plan) if isinstance(plan, EmbeddingPlan) else BeamSet.of(plan)
            dataset = beams.dataset()
            width = plan.width if isinstance(plan, EmbeddingPlan) else int(plan.beams.embeddings.shape[1])
            evaluation = plan.space.evaluation
            asked = None if evaluation is None else EvaluationPlan(evaluation, beams.vlm, plan.items)
        answers = [] if beams is None else [_collection(beams)]
        answers += [] if asked is None else [_evaluation(plan.space, asked, dataset)]
        checkpoint = Checkpoint(answers[0].vlm) if answers else None
        measured = 0 if beams is None else len(beams.picks)
        return cls(embed, tuple(answers), train_work(plan.space, dataset, width), checkpoint, measured)
