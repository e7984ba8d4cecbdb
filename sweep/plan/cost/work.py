"""What a plan will ask and train at most: counts alone, with a sample of the prompts. Nothing is rendered or measured.

An evaluation's prompts follow from trials that do not exist yet. Stand-ins for their rows select at random, which is
the most that rows can differ: trials that agree share prompts, so that fewer are asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from selector.arrays import Float32Array
from selector.data import Dataset
from selector.data.dataset import Outcome
from selector.training.stage import training_queries
from sweep.collect.beams import Beams, dataset_of, propose_beams
from sweep.errors import SpaceError
from sweep.evaluation.questions import Questions, choose_questions
from sweep.evaluation.rows import Selections, select_nothing, select_randomly, select_similar
from sweep.items import ItemTable
from sweep.plan.cost.checkpoint import Checkpoint
from sweep.plan.plan import AnyPlan, CollectionPlan, EmbeddingPlan, Plan
from sweep.settings.collect import CollectSettings, PoolBy, PoolSettings
from sweep.settings.embed import EmbedSettings, Inputs
from sweep.settings.evaluation import EvaluationSettings, evaluation_splits
from sweep.settings.proposers import BeamCounts, FurtherBeamCounts
from sweep.settings.vlm import VlmSettings
from sweep.space import SearchSpace
from sweep.space.model import extremes
from sweep.vlm.work import WorkItem

SAMPLED_QUERIES = 48
DRAWN_WIDTH = 4
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


def stand_in(plan: EmbeddingPlan, settings: CollectSettings, vlm: VlmSettings) -> CollectionPlan:
    """A collection of the same size as the one that will follow, over embeddings that are drawn.

    Pools and beams are drawn at random: by whatever they are chosen later, there are as many.
    """
    rounds = settings.rounds
    if rounds is not None:
        rounds = rounds.replace(beams=FurtherBeamCounts(combined=0, random=rounds.beams.total), online=None)
    settings = settings.replace(
        beams=_random_beams(settings.beams),
        held_out_beams=_random_beams(settings.of_held_out),
        rounds=rounds,
        selector=None,
    )
    if settings.queries is None:
        pool = PoolSettings(size=settings.build.pool.size, by=PoolBy.RANDOM)
        settings = settings.replace(build=settings.build.replace(pool=pool))
    drawn = np.random.default_rng(0).standard_normal((len(plan.items), DRAWN_WIDTH), dtype=np.float32)
    proposed = propose_beams(settings, plan.items, drawn)
    return CollectionPlan(plan.request, settings, vlm, plan.items, proposed, plan.folder)


def _random_beams(beams: BeamCounts) -> BeamCounts:
    return BeamCounts(similarity=0, similarity_sampled=0, random=beams.total)


def dataset_to_be(plan: Plan | CollectionPlan) -> Dataset:
    """The plan's data. Where it is still to be measured, the same queries and beams with drawn outcomes."""
    if isinstance(plan, Plan):
        return plan.dataset
    beams = plan.beams
    generator = np.random.default_rng(0)
    drawn: Float32Array = generator.integers(0, 2, len(beams)).astype(np.float32)
    return dataset_of(beams, np.ones(len(beams), dtype=bool), dict.fromkeys(Outcome, drawn))


def answer_works(plan: Plan | CollectionPlan, dataset: Dataset) -> Iterator[AnswerWork]:
    """The phases of a plan that ask the model, in their order."""
    if isinstance(plan, CollectionPlan):
        yield _collection(plan.beams, plan)
        if plan.space.evaluation is not None:
            yield _evaluation(plan.space, plan.space.evaluation, plan.vlm, plan.items, dataset)
    elif plan.evaluation is not None:
        yield _evaluation(plan.space, plan.evaluation.settings, plan.evaluation.vlm, plan.evaluation.items, dataset)


def _collection(beams: Beams, plan: CollectionPlan) -> AnswerWork:
    queries = beams.queries
    chosen = np.unique(np.linspace(0, len(queries) - 1, SAMPLED_QUERIES).astype(np.int64))
    sample = tuple(
        WorkItem(int(queries.query_items[query]), tuple(shown))
        for query in chosen
        for shown in beams.shown(int(query)).tolist()
    )
    owners = np.repeat(np.arange(len(queries)), np.diff(beams.beam_starts))
    shown_items = queries.pool_items[queries.pool_starts[owners][:, None] + beams.beam_picks]
    images = plan.items.image_ids()[np.concatenate([shown_items.reshape(-1), queries.query_items])]
    return AnswerWork(
        phase="collect",
        vlm=plan.vlm,
        table=plan.items,
        questions=len(queries),
        prompts=sum(plan.prompts),
        images=len(np.unique(images)),
        sample=tuple(sorted(sample)),
        stored=sample,
        stored_share=plan.prompts[0] / sum(plan.prompts),
        score=plan.settings.gt_prob,
        at_most=len(plan.prompts) > 1,
    )


def _evaluation(
    space: SearchSpace, settings: EvaluationSettings, vlm: VlmSettings, table: ItemTable, dataset: Dataset
) -> AnswerWork:
    image_ids = table.image_ids()
    fixed = int(settings.no_demonstrations) + (1 + settings.random_draws) * len(settings.shot_numbers)
    rows = warm_ups(space, settings) + settings.top * settings.epochs_per_trial
    rows += settings.finalists.count * settings.finalists.seeds
    asked, sample, stored, shown = 0, [], [], []
    for split in evaluation_splits(settings):
        questions = choose_questions(dataset, split, settings.samples, settings.seed, image_ids.tolist())
        asked += len(questions)
        places = np.unique(np.linspace(0, len(questions) - 1, SAMPLED_QUERIES).astype(np.int64)).tolist()
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
        vlm=vlm,
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
        embed, known = None, plan
        if isinstance(known, EmbeddingPlan):
            if known.collect is None or known.space.vlm is None:
                raise SpaceError(f"space {known.space.name!r} has no section collect: only its items are embedded")
            embed, known = embed_work(known), stand_in(known, known.collect, known.space.vlm)
        dataset = dataset_to_be(known)
        answers = tuple(answer_works(known, dataset))
        checkpoint = Checkpoint(answers[0].vlm) if answers else None
        width = dataset.width if embed is None else embed.width
        beams = len(known.beams) if isinstance(known, CollectionPlan) else 0
        return cls(embed, answers, train_work(plan.space, dataset, width), checkpoint, beams)
