"""Everything that is checked before a trial starts, without Ray: the space, the data, and that they fit each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from selector.batches import TensorData
from selector.data import Dataset, DataSummary, Split, describe, load
from selector.data.settings import DataSettings
from selector.errors import DataError
from selector.model import PointerSelector, SelectorConfig
from selector.rewards import compute_rewards
from selector.validation import Evaluator
from sweep.collect.beams import CollectPlan
from sweep.errors import RunError, SpaceError
from sweep.plan.items import Source
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.runs.record import read_record
from sweep.space import SearchSpace, find_space, parse_space, reachable_rewards
from sweep.storage import mirror


@dataclass(frozen=True)
class Plan:
    """A space and its data, known to fit. `text` is the space as the user wrote it; `images_missing` counts items."""

    space: SearchSpace
    text: str
    source: str
    dataset: Dataset
    summary: DataSummary
    parameters: int
    images_missing: int = 0


@dataclass(frozen=True)
class Draft:
    """A space whose data is still to be collected, checked as far as that goes.

    Attributes:
        items: questions with images.
        beams: what will be asked.
        folder: where the data will be, named by everything that it depends on.
    """

    space: SearchSpace
    text: str
    source: str
    items: Source
    beams: CollectPlan
    folder: Path

    @property
    def bytes(self) -> int:
        """Of the data, roughly."""
        return self.beams.embeddings.nbytes + self.beams.beam_picks.nbytes + self.beams.queries.pool_items.nbytes


def make_request(argument: str, data: Path | None, embeddings: Path | None, shared: SharedPaths) -> Plan | Draft:
    """`make_plan`, or for a space whose data nobody has collected yet, everything that can be known before that."""
    from sweep.driver.collection import draft, is_collected
    from sweep.driver.evaluation import check_evaluation

    text, source = find_space(argument)
    space = with_data(parse_space(text, source), data, embeddings)
    if space.collect is not None and space.data.path is None:
        planned = draft(space, text, source, shared)
        if not is_collected(planned):
            return planned
        plan = plan_of_collected(planned)
    else:
        plan = plan_from_text(text, source, data, embeddings)
    return replace(plan, images_missing=check_evaluation(plan.space, plan.dataset, shared))


def plan_of_collected(draft: Draft) -> Plan:
    """The plan over data that has been collected.

    Raises:
        DataError: the folder was damaged since; says how to mend it.
    """
    try:
        return plan_from_text(draft.text, draft.source, data=draft.folder)
    except DataError as error:
        raise DataError(
            f"{error} (collected data; if {draft.folder} is damaged, delete it: it is made again from stored answers)"
        ) from None


def place_of_data(paths: RunPaths, folder: Path) -> Path:
    """How a run remembers where its data is: absolute, or relative to the folder of runs where that is elsewhere."""
    return folder.relative_to(paths.root.parent) if mirror.is_mirrored(folder) else folder.absolute()


def make_draft(argument: str, shared: SharedPaths) -> Draft:
    """What `sweep collect` would measure."""
    from sweep.driver.collection import draft

    text, source = find_space(argument)
    return draft(parse_space(text, source), text, source, shared)


def judged_by(plan: Plan, file: Path | None) -> Plan:
    """The plan with the sections about answers from another space file; None keeps its own.

    Raises:
        SpaceError: there is no section `evaluation` then.
    """
    other = plan.space if file is None else parse_space(*find_space(str(file)))
    if other.evaluation is None:
        raise SpaceError(
            f"{file or plan.source}: has no section evaluation; name a space that has one, with --space FILE"
        )
    answers = {"items": other.items, "vlm": other.vlm, "evaluation": other.evaluation}
    return replace(plan, space=plan.space.model_copy(update=answers))


def make_plan(argument: str, data: Path | None = None, embeddings: Path | None = None) -> Plan:
    """Read and check a space and its data.

    Args:
        argument: a file, or the name of a shipped space.
        data: instead of the space's `data.path`.
        embeddings: instead of the space's `data.embeddings`.

    Raises:
        SpaceError: the space is wrong.
        DataError: the data is wrong, or lacks what the space needs.
    """
    text, source = find_space(argument)
    return plan_from_text(text, source, data, embeddings)


def plan_from_text(text: str, source: str, data: Path | None = None, embeddings: Path | None = None) -> Plan:
    """`make_plan` for a space that has already been read."""
    space = with_data(parse_space(text, source), data, embeddings)
    dataset = load(space.data)
    for reward in (*reachable_rewards(space), space.validation.reward):
        try:
            compute_rewards(dataset.outcomes, reward)
        except DataError as error:
            raise DataError(f"{space.data.path or 'demo data'}: {error}") from None
    if not len(dataset.indices(Split.TRAIN)):
        raise DataError("the train split is empty: lower data.split.val and data.split.test")
    Evaluator(TensorData(dataset, torch.device("cpu")), space.validation)
    summary = describe(dataset, compute_rewards(dataset.outcomes, space.validation.reward))
    settings = space.resolve({}, 0) if not space.parameters else space.trial
    model = PointerSelector(SelectorConfig(width=dataset.width, **settings.model.model_dump(mode="json")))
    return Plan(space, text, source, dataset, summary, sum(p.numel() for p in model.parameters()))


def plan_of_run(paths: RunPaths, data: Path | None = None, embeddings: Path | None = None) -> Plan:
    """The plan that a run was started with, its data checked again.

    Args:
        paths: of the run.
        data: where the data is now, if it was moved; its fingerprint tells whether it is the same.
        embeddings: likewise.

    Raises:
        RunError: the folder is not a run's.
    """
    record = read_record(paths)
    text = _space_text(paths)
    if data is None:
        # Only a run that is kept elsewhere remembers a relative path (`place_of_data`).
        data = record.data and mirror.fetch(paths.root.parent / record.data)
        embeddings = embeddings or record.embeddings
    return plan_from_text(text, mirror.shown(paths.space_file), data, embeddings)


def _space_text(paths: RunPaths) -> str:
    try:
        return paths.space_file.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"{paths.space_file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{paths.space_file}: not UTF-8 text (byte {error.start}): damaged") from None


def request_of_run(paths: RunPaths, data: Path | None = None, embeddings: Path | None = None) -> Plan | Draft:
    """`plan_of_run`, or the draft of a run that was interrupted while its data was being collected."""
    if data is not None or read_record(paths).data_fingerprint is not None:
        return plan_of_run(paths, data, embeddings)
    from sweep.driver.collection import draft

    text = _space_text(paths)
    return draft(parse_space(text, mirror.shown(paths.space_file)), text, mirror.shown(paths.space_file), paths.shared)


def with_data(space: SearchSpace, data: Path | None, embeddings: Path | None) -> SearchSpace:
    """The space with other data files; `None` keeps its own."""
    if data is None and embeddings is None:
        return space
    if data is None and space.data.path is None:
        raise SpaceError(f"--embeddings {embeddings}: name the data as well, with --data")
    changed = space.data.model_dump() | {"path": data or space.data.path, "embeddings": embeddings}
    return space.model_copy(update={"data": DataSettings.model_validate(changed)})


def describe_draft(draft: Draft) -> list[tuple[str, str]]:
    """What would be collected, and run after that, as (label, text) rows."""
    beams, space = draft.beams, draft.space
    sizes = np.diff(beams.beam_starts)
    picks = beams.beam_picks.shape[1]
    kinds = Counter(proposer.value for proposer in beams.proposers)
    splits = ", ".join(f"{int((beams.queries.split == int(split)).sum())} {split.name.lower()}" for split in Split)
    rce, grpo = space.epochs()
    images = _missing(draft.items.table.images_missing())
    return [
        ("space", f"{space.name} ({draft.source})"),
        ("data", f"to be collected -> {mirror.shown(draft.folder)}"),
        ("items", f"{len(draft.items.table)}, embeddings of width {beams.embeddings.shape[1]}{images}"),
        ("queries", splits),
        (
            "beams to measure",
            f"{len(beams)} of {picks} picks, {sizes.min()} to {sizes.max()} per query",
        ),
        ("proposed by", ", ".join(f"{name} {count}" for name, count in kinds.items())),
        *([("answered by", space.vlm.model.path)] if space.vlm else []),
        ("epochs per trial", f"up to {rce} RCE + {grpo} GRPO"),
        ("sampler, pruner", f"{space.sampler.type}, {space.pruner.type} (starts {space.pruning_starts})"),
    ]


def _missing(images: int) -> str:
    return f"; {images} without {'its image' if images == 1 else 'their images'}" if images else ""


def describe_plan(plan: Plan) -> list[tuple[str, str]]:
    """What would run, as (label, text) rows."""
    space, summary = plan.space, plan.summary
    budget = space.budget
    limits = [
        f"{budget.trials} trials" if budget.trials else "",
        f"{budget.hours:g} hours" if budget.hours else "",
        f"{budget.trials_without_improvement} trials without improvement" if budget.trials_without_improvement else "",
    ]
    if budget.trials and space.repeats > 1:
        limits[0] += f" = {-(-budget.trials // space.repeats)} configurations x {space.repeats} seeds"
    data = mirror.shown(space.data.path) if space.data.path else "demo data"
    rce, grpo = space.epochs()
    counts = [f"{count} {name.replace('_', ' ')}" for name, count in summary.counts.items() if count]
    pools, groups = summary.pool_sizes, summary.group_sizes
    splits = ", ".join(f"{summary.queries[split]} {split.name.lower()}" for split in Split)
    constant = ", ".join(f"{summary.zero_variance_share[split]:.1%} {split.name.lower()}" for split in Split)
    return [
        ("space", f"{space.name} ({plan.source})"),
        ("data", f"{data}  fingerprint {summary.fingerprint[:16]}"),
        ("queries", splits),
        ("items", f"{summary.items} of width {summary.width}{_missing(plan.images_missing)}"),
        ("candidates per query", f"{pools.minimum} to {pools.maximum}, median {pools.median:g}"),
        (
            "beams per group",
            f"{groups.minimum} to {groups.maximum}, median {groups.median:g}; {summary.picks} picks each",
        ),
        ("measured", ", ".join(summary.outcomes)),
        ("zero-variance groups", f"{constant} (by {space.validation.reward.mode})"),
        (
            "positives",
            f"{summary.positive_beams_share:.1%} of {summary.beams} beams, {summary.positive_groups_share:.1%} of "
            f"groups have one ({summary.positives_by})",
        ),
        ("left out or noticed", ", ".join(counts) or "nothing"),
        ("selector", f"{plan.parameters:,} parameters, {space.trial.model.decoder} decoder"),
        ("epochs per trial", f"up to {rce} RCE + {grpo} GRPO"),
        ("budget", ", ".join(filter(None, limits))),
        ("first points", str(len(space.enqueue))),
        ("sampler, pruner", f"{space.sampler.type}, {space.pruner.type} (starts {space.pruning_starts})"),
        ("ranked by", f"val_loss = {space.validation.metric}, lower is better"),
    ]


def describe_parameters(space: SearchSpace) -> list[tuple[str, str]]:
    """The sampled and fixed parameters, as (path, text) rows."""
    rows = []
    for path in space.order:
        values = space.parameters[path].model_dump(mode="json", exclude_defaults=True, exclude={"type", "when"})
        text = ", ".join(f"{key} {value}" for key, value in values.items())
        condition = space.parameters[path].conditions()
        when = "".join(f", if {other} is {' or '.join(map(str, allowed))}" for other, allowed in condition.items())
        rows.append((path, f"{space.parameters[path].type}: {text}{when}"))
    return rows
