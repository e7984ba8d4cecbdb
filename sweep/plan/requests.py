"""Everything that is checked before a trial starts, without Ray: the space, the data, and that they fit each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from selector.batches import TensorData
from selector.data import Split, describe, load
from selector.data.settings import DataSettings
from selector.errors import DataError
from selector.model import PointerSelector, SelectorConfig
from selector.rewards import compute_rewards
from selector.validation import Evaluator
from sweep.errors import RunError, SpaceError
from sweep.plan.plan import Draft, Plan
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.runs.record import read_record
from sweep.space import SearchSpace, find_space, parse_space, reachable_rewards
from sweep.storage import mirror


def make_request(argument: str, data: Path | None, embeddings: Path | None, shared: SharedPaths) -> Plan | Draft:
    """`make_plan`, or for a space whose data nobody has collected yet, everything that can be known before that."""
    from sweep.plan.checks import check_evaluation
    from sweep.plan.collection import draft, is_collected

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


def make_draft(argument: str, shared: SharedPaths) -> Draft:
    """What `sweep collect` would measure."""
    from sweep.plan.collection import draft

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
    from sweep.plan.collection import draft

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
