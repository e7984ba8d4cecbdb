"""What would run, and what varies, before anything is started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich.console import Group
from rich.table import Table

from selector.data import DataSummary, Split
from sweep.items.shared_images import SharedImages, Sign
from sweep.plan.plan import AnyPlan, CollectionPlan, EmbeddingPlan, Plan
from sweep.plan.requests import Request
from sweep.plan.splits import informative_groups, informative_sentence, more_queries
from sweep.report.tables import labelled, titled
from sweep.settings.rounds import Until
from sweep.space import SearchSpace, parse_override


def plan_table(plan: AnyPlan) -> Table:
    """What would run."""
    if isinstance(plan, EmbeddingPlan):
        return labelled(describe_embedding(plan))
    return labelled(describe_collection(plan) if isinstance(plan, CollectionPlan) else describe_plan(plan))


def parameter_table(plan: AnyPlan) -> Group:
    """What varies."""
    none = [("parameters", "none: every trial has the same settings")]
    return titled("Parameters", labelled(describe_parameters(plan.space) or none))


def data_table(summary: DataSummary) -> Table:
    """What a data set holds."""
    pools, groups = summary.pool_sizes, summary.group_sizes
    beams = f"{groups.minimum} to {groups.maximum}; {summary.beams} in all, {summary.picks} picks each"
    return labelled(
        [
            ("fingerprint", summary.fingerprint),
            ("queries", _queries(summary)),
            ("items", f"{summary.items} of width {summary.width}"),
            ("candidates per query", f"{pools.minimum} to {pools.maximum}"),
            ("beams per group", beams),
            ("measured", ", ".join(summary.outcomes)),
            ("left out or noticed", _noticed(summary)),
        ]
    )


def describe_embedding(plan: EmbeddingPlan) -> list[tuple[str, str]]:
    """What would be embedded, then collected, and run after that, as (label, text) rows."""
    space, settings = plan.space, plan.settings
    how = f" by {settings.combine}" if len(settings.inputs.parts) > 1 else ""
    rows = [
        ("space", f"{space.name} ({plan.request.source})"),
        *_overridden(plan.request),
        ("embeddings", f"to be made -> {plan.folder}"),
        ("items", f"{len(plan.items)}{_missing(plan.items.images_missing())}"),
        ("embedded", f"{' and '.join(settings.inputs.parts)}{how}, width {plan.width}"),
        ("embedded by", settings.model.path),
    ]
    if plan.collect is None:
        return rows
    splits = ", ".join(f"{int((plan.splits == int(split)).sum())} {split.name.lower()}" for split in Split)
    measured = f"up to {plan.most_beams} of {plan.collect.picks} picks, {plan.collect.beams.total} per query"
    return [
        *rows,
        ("queries", splits),
        ("beams to measure", measured),
        *([("answered by", space.vlm.model.path)] if space.vlm else []),
    ]


def describe_collection(draft: CollectionPlan) -> list[tuple[str, str]]:
    """What would be collected, and run after that, as (label, text) rows."""
    beams, space = draft.beams, draft.space
    sizes = np.diff(beams.beam_starts)
    picks = beams.beam_picks.shape[1]
    each = f", {sizes.min()} to {sizes.max()} per query" if len(sizes) else ""
    kinds = Counter(proposer.value for proposer in beams.proposers)
    splits = ", ".join(f"{int((beams.queries.split == int(split)).sum())} {split.name.lower()}" for split in Split)
    rce, grpo = space.epochs()
    images = _missing(draft.items.images_missing())
    return [
        ("space", f"{space.name} ({draft.request.source})"),
        *_overridden(draft.request),
        ("data", f"to be collected -> {draft.folder}"),
        ("items", f"{len(draft.items)}, embeddings of width {beams.embeddings.shape[1]}{images}"),
        ("queries", splits),
        *_parent(draft),
        ("beams to measure", f"{len(beams)} of {picks} picks{each}"),
        *([("proposed by", ", ".join(f"{name} {count}" for name, count in kinds.items()))] if kinds else []),
        *_rounds(draft),
        *_shared(draft.shared),
        *([("answered by", space.vlm.model.path)] if space.vlm else []),
        ("epochs per trial", f"up to {rce} RCE + {grpo} GRPO"),
        ("sampler, pruner", f"{space.sampler.type}, {space.pruner.type} (starts {space.pruning_starts})"),
    ]


def _parent(draft: CollectionPlan) -> list[tuple[str, str]]:
    """The data set that is extended."""
    if draft.parent is None:
        return []
    known = draft.parent.as_ancestor
    return [
        ("extends", f"{known.fingerprint[:16]}: {known.queries} queries, {known.beams} beams, which stay as they are")
    ]


def _rounds(draft: CollectionPlan) -> list[tuple[str, str]]:
    """Further rounds and the budget."""
    rounds, budget = draft.settings.rounds, draft.settings.budget
    rows = []
    if rounds is not None:
        what = "without contrast " if rounds.until is Until.CONTRAST else ""
        count = "1 round" if rounds.most == 1 else f"{rounds.most} rounds at most"
        most = f"up to {sum(draft.prompts[1:])} more beams for training groups {what}in {count}"
        rows.append(("further rounds", most))
    if budget is not None:
        rows.append(("budget", f"{budget.prompts} prompts" if budget.prompts else f"{budget.hours:g} hours"))
    return rows


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
    images = plan.evaluation.items.images_missing() if plan.evaluation else 0
    data = plan.collected or plan.data.path or "demo data"
    rce, grpo = space.epochs()
    pools, groups = summary.pool_sizes, summary.group_sizes
    constant = ", ".join(f"{summary.zero_variance_share[split]:.1%} {split.name.lower()}" for split in Split)
    return [
        ("space", f"{space.name} ({plan.request.source})"),
        *_overridden(plan.request),
        ("data", f"{data}  fingerprint {summary.fingerprint[:16]}"),
        ("queries", _queries(summary)),
        ("items", f"{summary.items} of width {summary.width}{_missing(images)}"),
        ("candidates per query", f"{pools.minimum} to {pools.maximum}, median {pools.median:g}"),
        (
            "beams per group",
            f"{groups.minimum} to {groups.maximum}, median {groups.median:g}; {summary.picks} picks each",
        ),
        ("measured", ", ".join(summary.outcomes)),
        ("zero-variance groups", f"{constant} (by {space.validation.reward.mode})"),
        (
            "validation groups",
            informative_sentence(
                informative_groups(summary),
                summary.queries[Split.VAL],
                space.validation,
                more_queries(plan.request, Split.VAL),
            ),
        ),
        (
            "positives",
            f"{summary.positive_beams_share:.1%} of {summary.beams} beams, {summary.positive_groups_share:.1%} of "
            f"groups have one ({summary.positives_by})",
        ),
        ("left out or noticed", _noticed(summary, bool(plan.shared))),
        *_shared(plan.shared),
        ("selector", f"{plan.parameters:,} parameters, {space.trial.model.decoder} decoder"),
        ("epochs per trial", f"up to {rce} RCE + {grpo} GRPO"),
        ("budget", ", ".join(filter(None, limits))),
        ("first points", str(len(space.enqueue))),
        ("sampler, pruner", f"{space.sampler.type}, {space.pruner.type} (starts {space.pruning_starts})"),
        ("ranked by", f"val_loss = {space.validation.metric}, lower is better"),
    ]


def label_of_override(text: str) -> str:
    """An assignment as people may see it: without passwords."""
    return parse_override(text).label


def _overridden(request: Request) -> list[tuple[str, str]]:
    """What the command line sets instead of the file."""
    labels = [label_of_override(text) for text in request.overrides]
    return [("set instead", ", ".join(labels))] if labels else []


def _queries(summary: DataSummary) -> str:
    return ", ".join(f"{summary.queries[split]} {split.name.lower()}" for split in Split)


def _noticed(summary: DataSummary, more: bool = False) -> str:
    """What reading left out or noticed. `more`: whether there is more in the lines that follow."""
    counts = [f"{count} {name.replace('_', ' ')}" for name, count in summary.counts.items() if count]
    return ", ".join(counts) or ("see below" if more else "nothing")


def _shared(shared: Sequence[SharedImages]) -> list[tuple[str, str]]:
    """Queries that share an image with others, a line for each kind."""
    label = "shared images" if all(one.sign is Sign.IMAGE for one in shared) else "equal embeddings"
    return [(label if place == 0 else "", one.sentence) for place, one in enumerate(shared)]


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
