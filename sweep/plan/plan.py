"""What is about to happen, checked.

`CollectionPlan` is for a run whose data is still to be measured, `EmbeddingPlan` for one whose items are still to be
embedded before that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from selector.arrays import Int8Array
from selector.data import Dataset, DataSettings, DataSummary, Split
from sweep.collect.beams import Beams
from sweep.collect.extend import Additions, Parent
from sweep.collect.prompts import prompts_by_round
from sweep.embed.store import EmbeddingManifest
from sweep.errors import RunError
from sweep.items import ItemTable
from sweep.items.shared_images import SharedImages
from sweep.plan.requests import Request
from sweep.settings.collect import CollectSettings
from sweep.settings.embed import Combine, EmbedSettings, Inputs
from sweep.settings.evaluation import EvaluationSettings
from sweep.settings.vlm import VlmSettings
from sweep.space import SearchSpace
from sweep.storage.path import StoredPath
from sweep.trials.given import Given


@dataclass(frozen=True)
class EvaluationPlan:
    """How the best trials answer questions.

    Attributes:
        settings: questions, rows and statistics.
        vlm: the model that answers.
        items: the questions with their images, opened. They are the items of the plan's data.
    """

    settings: EvaluationSettings
    vlm: VlmSettings
    items: ItemTable


@dataclass(frozen=True)
class EmbeddingPlan:
    """A space whose items are still to be embedded, checked as far as that goes. Its data is measured after that.

    Attributes:
        request: as in `Plan`.
        settings: the space's section `embed`.
        items: the questions with their images, opened.
        widths: of the vectors of each kind that is embedded.
        folder: where the embeddings will be, named by everything that they depend on.
        collect: the section `collect`, with the queries that lie beside the items. None where nothing is measured.
        splits: of the queries that will be asked, int8 [Q] (values of `Split`).
        add: what is added to which data set, for an extension.
        init: what all trials begin with. None: each with its own seed's weights.
    """

    request: Request
    settings: EmbedSettings
    items: ItemTable
    widths: dict[Inputs, int]
    folder: StoredPath
    collect: CollectSettings | None
    splits: Int8Array
    add: Additions | None = None
    init: Given | None = None

    @property
    def space(self) -> SearchSpace:
        """What is swept when the data is there."""
        return self.request.space

    @property
    def data(self) -> DataSettings:
        """As the space has it: it names no file yet."""
        return self.request.data

    @property
    def width(self) -> int:
        """Of the embeddings."""
        widths = self.widths.values()
        return sum(widths) if self.settings.combine is Combine.CONCATENATION else max(widths)

    @property
    def most_beams(self) -> int:
        """Beams to be measured at most: a small pool gives fewer."""
        train = int((self.splits == int(Split.TRAIN)).sum())
        return 0 if self.collect is None else sum(prompts_by_round(self.collect, train, len(self.splits) - train))

    @property
    def bytes(self) -> int:
        """Size of the data in memory, roughly."""
        per_query = 0 if self.collect is None else self.collect.build.pool.size
        per_beam = 0 if self.collect is None else self.collect.picks
        return 4 * len(self.items) * self.width + 8 * (self.most_beams * per_beam + len(self.splits) * per_query)


@dataclass(frozen=True)
class Plan:
    """A space and its data, known to fit.

    Attributes:
        request: the space, as its file describes it, and where it comes from.
        data: where the data was read.
        dataset: all splits.
        summary: what the data holds, with its fingerprint.
        parameters: weights of the selector.
        evaluation: None where the model is not asked.
        collected: where the data is kept, if runs share it. `data` then names this machine's copy.
        shared: queries that share an image with others, by kind.
        embedded: what made the embeddings, where the run made them.
        init: what all trials begin with. None: each with its own seed's weights.
    """

    request: Request
    data: DataSettings
    dataset: Dataset
    summary: DataSummary
    parameters: int
    evaluation: EvaluationPlan | None
    collected: StoredPath | None = None
    shared: tuple[SharedImages, ...] = ()
    embedded: EmbeddingManifest | None = None
    init: Given | None = None

    @property
    def space(self) -> SearchSpace:
        """What is swept."""
        return self.request.space

    @property
    def bytes(self) -> int:
        """Size of the data in memory, roughly."""
        return self.dataset.embeddings.nbytes + self.dataset.beam_picks.nbytes + self.dataset.pool_items.nbytes


@dataclass(frozen=True)
class CollectionPlan:
    """A space whose data is still to be measured, checked as far as that goes.

    Attributes:
        request: as in `Plan`.
        settings: the space's section `collect`, with the queries that lie beside the items.
        vlm: the model that is asked.
        items: the questions with their images, opened.
        beams: what will be asked in the first round.
        folder: where the data will be, named by everything that it depends on.
        shared: queries that share an image with others, by kind.
        embedded: what made the embeddings, where the run made them.
        measured_by: digest of all that decides the outcome of a beam. Empty for beams that nobody will measure.
        parent: the data set that is extended. None: the data is new.
        init: what all trials begin with. None: each with its own seed's weights.
    """

    request: Request
    settings: CollectSettings
    vlm: VlmSettings
    items: ItemTable
    beams: Beams
    folder: StoredPath
    shared: tuple[SharedImages, ...] = ()
    embedded: EmbeddingManifest | None = None
    measured_by: str = ""
    parent: Parent | None = None
    init: Given | None = None

    @property
    def space(self) -> SearchSpace:
        """What is swept when the data is there."""
        return self.request.space

    @property
    def prompts(self) -> tuple[int, ...]:
        """Prompts of each round at most, those of the first exactly."""
        train = int((self.beams.queries.split == int(Split.TRAIN)).sum())
        if self.parent is not None:
            train += int((self.parent.measured.beams.queries.split == int(Split.TRAIN)).sum())
        return prompts_by_round(self.settings, train, first=len(self.beams))

    @property
    def data(self) -> DataSettings:
        """As the space has it: it names no file yet."""
        return self.request.data

    @property
    def bytes(self) -> int:
        """Size of the data in memory, roughly."""
        return self.beams.embeddings.nbytes + self.beams.beam_picks.nbytes + self.beams.queries.pool_items.nbytes


AnyPlan = Plan | CollectionPlan | EmbeddingPlan
"""What a request becomes: the last one where nothing is there yet."""


def require_data(plan: AnyPlan) -> Plan:
    """The plan, if its data is there. Raises RunError if it is still to be collected."""
    if not isinstance(plan, Plan):
        raise RunError("the run's data is not collected yet: `python -m sweep resume` goes on with it")
    return plan


def record_of_embeddings(plan: Plan) -> dict[str, Any] | None:
    """What a run's record says of the embeddings that it made. None where it made none."""
    return None if plan.embedded is None else plan.embedded.model_dump(mode="json")
