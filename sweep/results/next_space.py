"""The following space: the run's own file with the changes of its findings, and its best points to begin with.

A finding carries its change, so that `doctor` and `next` cannot disagree. Here changes are only applied: worst finding
first, the first one wins where two change one place, and one that the space's own checks refuse is left out and said
so. The result is a space that `parse_space` takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selector.errors import first_line
from sweep.errors import RunError, SpaceError
from sweep.evaluation.wording import counted
from sweep.results.doctor import Diagnosis
from sweep.results.evidence import Evidence
from sweep.results.finding import REMOVED, Change, Finding
from sweep.space import SearchSpace, parse_space
from sweep.space.addresses import Scalar
from sweep.space.algorithms import GpSettings, TpeSettings
from sweep.space.edit import comment, with_items, with_value, without
from sweep.space.overrides import parse_override
from sweep.study import TrialSummary
from sweep.study.ranking import best_of_configurations

POINTS = 3
MOST_PRIOR = 200
NOT_COMPARABLE = {"trial", "validation", "grpo.epochs", "rce.epochs", "data", "items", "collect"}
"""A change of these makes losses of the old run mean something else."""


@dataclass(frozen=True)
class NextSpace:
    """A space that was written.

    Attributes:
        text: YAML with the reason of each change as a comment.
        applied: in this order.
        left_out: findings whose changes were not applied, with the reason.
        points: trials that are tried first.
        prior: trials whose losses the sampler is given.
        space: parsed.
    """

    text: str
    applied: tuple[Change, ...]
    left_out: tuple[tuple[Finding, str], ...]
    points: tuple[int, ...]
    prior: tuple[int, ...]
    space: SearchSpace


def next_space(name: str, text: str, overrides: Sequence[str], evidence: Evidence, diagnosis: Diagnosis) -> NextSpace:
    """Apply what was found.

    Args:
        name: of the run, for comments.
        text: its space file.
        overrides: what the command line set instead of the file.
        evidence: the run.
        diagnosis: of the same evidence.

    Raises:
        RunError: the space file cannot be edited (an alias stands for what would change, say).
    """
    try:
        for one in overrides:
            override = parse_override(one)
            text = with_value(text, tuple(map(str, override.path)), override.value, f"set with --set for {name}")
        if evidence.space.enqueue:  # they were tried, and may lie outside of what follows
            text = with_value(text, ("enqueue",), [], "")
        applied: list[Change] = []
        left_out: list[tuple[Finding, str]] = []
        for finding in diagnosis.findings:
            if not finding.changes:
                continue
            clash = _clash(finding.changes, applied)
            edited, why = (text, clash) if clash else _edited(text, finding.changes)
            if why:
                left_out.append((finding, why))
            else:
                text, applied = edited, [*applied, *finding.changes]
        text, points = _with_points(text, name, evidence)
        text, prior = _with_prior(text, name, evidence, applied)
        text = _head(name, applied, left_out, points, prior) + text
        return NextSpace(text, tuple(applied), tuple(left_out), points, prior, parse_space(text, "the next space"))
    except SpaceError as error:
        raise RunError(
            f"the space of {name} cannot be edited: {first_line(error)}; write the next one by hand "
            "(`python -m sweep doctor` says what to change)"
        ) from None


def _clash(changes: Sequence[Change], applied: Sequence[Change]) -> str:
    """Why changes come too late: a worse finding changes the same place. Empty where they do not."""
    for change in changes:
        for other in applied:
            shorter = min(len(change.path), len(other.path))
            if change.path[:shorter] == other.path[:shorter]:
                return f"{'.'.join(other.path)} is changed already: {other.reason}"
    return ""


def _edited(text: str, changes: Sequence[Change]) -> tuple[str, str]:
    """The text with changes, and why the space's own checks refuse it."""
    new = text
    try:
        for change in changes:
            is_gone = change.value is REMOVED
            new = without(new, change.path) if is_gone else with_value(new, change.path, change.value, change.reason)
        parse_space(new, "the next space")
    except SpaceError as error:
        return text, f"the space would not be valid: {first_line(error)}"
    return new, ""


def _with_points(text: str, name: str, evidence: Evidence) -> tuple[str, tuple[int, ...]]:
    """The best points that lie within the next space, to be tried first. The old list goes: it was tried."""
    space = parse_space(text, "the next space")
    found: list[tuple[int, dict[str, Scalar], str]] = []
    for row in best_of_configurations(evidence.rows):
        point = _point(space, row)
        if point and all(point != other for _, other, _ in found) and _fits(text, "enqueue", point):
            found.append((row.number, point, f"trial {row.number} of {name}: val_loss {row.value:.4f}"))
        if len(found) == POINTS:
            break
    if not found:
        return text, ()
    return with_items(text, "enqueue", [(point, why) for _, point, why in found]), tuple(one for one, _, _ in found)


def _with_prior(text: str, name: str, evidence: Evidence, applied: Sequence[Change]) -> tuple[str, tuple[int, ...]]:
    """The old trials for the sampler, where it learns from such and their losses are comparable with new ones."""
    space = parse_space(text, "the next space")
    sections = {change.path[0] for change in applied} | {path for one in applied for path in one.path[1:2]}
    if not isinstance(space.sampler, TpeSettings | GpSettings) or not sections.isdisjoint(NOT_COMPARABLE):
        return text, ()
    found: list[tuple[int, dict[str, Any], str]] = []
    for row in evidence.complete[:MOST_PRIOR]:
        item = {"params": _point(space, row), "val_loss": row.value}
        if _fits(text, "prior", item):
            found.append((row.number, item, f"trial {row.number} of {name}"))
    if not found:
        return text, ()
    return with_items(text, "prior", [(item, why) for _, item, why in found]), tuple(one for one, _, _ in found)


def _point(space: SearchSpace, row: TrialSummary) -> dict[str, Scalar]:
    """A trial's values for what the next space samples and uses there."""
    values: dict[str, Scalar] = {}
    for path in space.order:
        if path in row.params and path in space.distributions and space.in_use(path, space.with_fixed(values)):
            values[path] = row.params[path]
    return values


def _fits(text: str, key: str, item: Mapping[str, Any]) -> bool:
    try:
        parse_space(with_items(text, key, [(item, "")]), "the next space")
    except SpaceError:
        return False
    return True


def _head(
    name: str,
    applied: Sequence[Change],
    left_out: Sequence[tuple[Finding, str]],
    points: Sequence[int],
    prior: Sequence[int],
) -> str:
    lines = [
        f"What to try after the run {name}, written by `python -m sweep next`.",
        f"{counted(len(applied), 'change')} from what `python -m sweep doctor` found; each has its reason beside it."
        if applied
        else "Nothing was found that the space should change.",
    ]
    gone = [".".join(one.path[1:]) for one in applied if one.value is REMOVED]
    lines += [f"Taken out: {', '.join(gone)}."] if gone else []
    lines += [f"Not applied: {finding.title} ({why})." for finding, why in left_out]
    if points:
        lines.append("The best points are tried first, and the sampler learns from what they give now.")
    lines.append(
        "It is given the losses of the old run as well (prior)."
        if prior
        else "It is not given the losses of the old run: it does not learn from such, or they are not comparable."
    )
    return "".join(f"# {comment(line)}\n" for line in lines) + "\n"
