"""What a search space must satisfy as a whole. Every finding names its place in the file."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from math import prod

from pydantic import ValidationError

from sweep.errors import SpaceError
from sweep.settings.embed import VISION_TOWER
from sweep.settings.texts import check_template
from sweep.space.addresses import Scalar, addresses, refusal, with_values
from sweep.space.algorithms import (
    GpSettings,
    GridSettings,
    HyperbandSettings,
    PatientSettings,
    SuccessiveHalvingSettings,
    TpeSettings,
)
from sweep.space.conditions import (
    Parameters,
    combinations,
    decision_order,
    holds,
    random_combination,
    with_ancestors,
)
from sweep.space.document import Path, Problem
from sweep.space.fields import refuse, refuse_one
from sweep.space.model import SpaceModel
from sweep.space.nearest import nearest
from sweep.space.parameters import FixedParameter, Parameter

ARCHITECTURE = ("model.hidden", "model.layers", "model.heads", "model.decoder")
MAX_GRID = 100_000
MAX_PROBES = 2_000
MAX_CONDITIONS = 20_000


def consistent(space: SpaceModel) -> None:
    """Check what fields cannot check alone: conditions, points, seeds, grid, pruner, and combinations of values.

    Raises:
        pydantic.ValidationError: everything that was found.
    """
    try:
        decision_order(space.parameters)
    except ValueError as error:
        refuse_one(("parameters",), str(error))
    problems = list(_impossible_conditions(space))
    if space.repeats > 1 and "seed" in space.parameters:
        problems.append(
            Problem(("repeats",), "repeats already varies the seed, so `seed` cannot be a parameter; drop one of them")
        )
    problems += _sections_problems(space)
    for index, point in enumerate(space.enqueue):
        problems += _point_problems(space, point, ("enqueue", index))
    problems += _prior_problems(space)
    problems += _grid_problems(space)
    problems += _pruner_problems(space)
    refuse(problems)
    refuse(_combination_problems(space))


def _sections_problems(space: SpaceModel) -> Iterator[Problem]:
    """Sections that mean nothing without others."""
    needed = (
        ("items", space.items, "questions with images"),
        ("vlm", space.vlm, "the model that answers"),
    )
    missing = [f"{name} ({what})" for name, value, what in needed if value is None]
    for name, value in (("collect", space.collect), ("evaluation", space.evaluation)):
        if value is not None and missing:
            yield Problem((name,), f"needs {' and '.join(missing)}; give {'them' if len(missing) > 1 else 'it'}")
    yield from _embed_problems(space)
    if space.vlm is not None and space.vlm.prompt.template is not None:
        try:
            check_template(space.vlm.prompt.template)
        except SpaceError as error:
            yield Problem(("vlm", "prompt", "template"), str(error).removeprefix("prompt.template: "))
    for path in ARCHITECTURE if space.init_from is not None else ():
        if path in space.parameters:
            yield Problem(
                ("parameters", path),
                f"init_from decides the selector's architecture, so {path} cannot vary; say it in trial.model alone",
            )
    if space.collect is not None and space.data.path is not None:
        yield Problem(("collect",), "makes the data that data.path names already; keep one of them")


def _embed_problems(space: SpaceModel) -> Iterator[Problem]:
    """An embedding model without what it embeds."""
    if space.embed is None:
        return
    if space.items is None:
        yield Problem(("embed",), "needs items (questions with images); give them")
    if space.embed.model.path == VISION_TOWER and space.vlm is None:
        yield Problem(("embed", "model", "path"), "is the vision tower of section vlm, which is missing; give it")


def _impossible_conditions(space: SpaceModel) -> Iterator[Problem]:
    """Conditions on a continuous parameter, on a value that is never taken, or that exclude each other."""
    for path in space.order:
        impossible = False
        for other, allowed in space.parameters[path].conditions().items():
            parent = space.parameters.get(other)
            where: Path = ("parameters", path, "when", other)
            if parent is not None and parent.count is None:
                impossible = True
                yield Problem(where, f"{other} is continuous and will hardly equal a value; give it step or choices")
                continue
            fallback = () if parent is not None and not parent.when else (space.base[other],)
            if not any(value in fallback or (parent is not None and parent.contains(value)) for value in allowed):
                impossible = True
                fixed = "its values are elsewhere" if parent is not None else f"it is fixed at {space.base[other]!r}"
                yield Problem(where, f"can never hold: {other} is never {_or(allowed)} ({fixed}); change the condition")
        if not impossible and space.parameters[path].when and not _reachable(space, path):
            yield Problem(("parameters", path, "when"), "can never hold: the conditions exclude each other; drop one")


def _reachable(space: SpaceModel, path: str) -> bool:
    """Whether some combination of the parameters that the conditions reach puts `path` in use."""
    chain = with_ancestors(space.parameters, space.order, {path})[:-1]
    if any(space.parameters[other].count is None for other in chain if _is_asked(space.parameters, other)):
        return True  # a continuous ancestor has its own message
    candidates = {other: _relevant(space, other) for other in chain}
    tried = islice(combinations(space.parameters, chain, candidates, space.base), MAX_CONDITIONS)
    count = 0
    for count, values in enumerate(tried, start=1):  # noqa: B007 (the count is used after the loop)
        if holds(space.parameters[path], values, space.base):
            return True
    return count == MAX_CONDITIONS  # too many to try them all: let it pass


def _is_asked(parameters: Parameters, path: str) -> bool:
    return any(path in parameter.when for parameter in parameters.values())


def _relevant(space: SpaceModel, path: str) -> list[Scalar]:
    """The values of a parameter that conditions tell apart: those they name, and one other."""
    parameter = space.parameters[path]
    named = [value for other in space.parameters.values() for value in other.conditions().get(path, ())]
    found = [value for value in dict.fromkeys(named) if parameter.contains(value)]
    rest = next((value for value in parameter.values() if value not in found), None)
    return found if rest is None and len(found) == parameter.count else [*found, rest]


def _or(values: Iterable[Scalar]) -> str:
    return " or ".join(repr(value) for value in values)


def _point_problems(space: SpaceModel, point: Mapping[str, Scalar], where: Path) -> Iterator[Problem]:
    for path, value in point.items():
        parameter = space.parameters.get(path)
        if parameter is None:
            yield Problem((*where, path), f"no parameter of this space; {nearest(path, space.parameters)}")
            continue
        try:
            fits = parameter.contains(addresses()[path].check(value))
        except ValueError:
            fits = False
        if not fits:
            yield Problem((*where, path), f"{value!r} is outside of the parameter: {_extent(parameter)}")
    yield from _unused_in_point(space, point, where)


def _prior_problems(space: SpaceModel) -> Iterator[Problem]:
    """Trials that the sampler would not look at, or that are no points of the space."""
    if space.prior and not isinstance(space.sampler, TpeSettings | GpSettings):
        text = f"sampler {space.sampler.type} learns from no earlier trials; use tpe or gp, or leave prior out"
        yield Problem(("prior",), text)
    for index, one in enumerate(space.prior or ()):
        where: Path = ("prior", index, "params")
        if problems := list(_point_problems(space, one.params, where)):
            yield from problems
            continue
        values = space.with_fixed(one.params)
        for path in space.distributions:
            if path not in one.params and space.in_use(path, values):
                yield Problem(where, f"{path} is in use at this point and has no value; name it")


def _extent(parameter: Parameter) -> str:
    if parameter.count is not None and parameter.count <= 12:
        return f"it takes {_or(parameter.values())}"
    low, high = parameter.bounds()["low"], parameter.bounds()["high"]
    step = getattr(parameter, "step", None)
    return f"it takes {low!r} to {high!r}{f' in steps of {step!r}' if step else ''}"


def _unused_in_point(space: SpaceModel, point: Mapping[str, Scalar], where: Path) -> Iterator[Problem]:
    """Values that would be ignored: their conditions fail, or hang on a parameter that the point leaves open."""
    values: dict[str, Scalar] = {}
    undecided: set[str] = set()
    for path in space.order:
        parameter = space.parameters[path]
        open_parents = [other for other in parameter.when if other in undecided]
        if open_parents:
            if path in point:
                text = f"applies only where {open_parents[0]} is {_or(parameter.conditions()[open_parents[0]])}"
                yield Problem((*where, path), f"{text}, and the point leaves that open; name {open_parents[0]} as well")
            undecided.add(path)
        elif not holds(parameter, values, space.base):
            if path in point:
                needs = ", ".join(f"{other} {_or(allowed)}" for other, allowed in parameter.conditions().items())
                yield Problem((*where, path), f"is not in use at this point: it needs {needs}; leave it out")
        elif path in point:
            values[path] = point[path]
        elif isinstance(parameter, FixedParameter):
            values[path] = parameter.value
        else:
            undecided.add(path)


def _grid_problems(space: SpaceModel) -> Iterator[Problem]:
    if not isinstance(space.sampler, GridSettings):
        return
    continuous = [path for path in space.order if space.parameters[path].count is None]
    for path in continuous:
        yield Problem(
            ("parameters", path), "is continuous, which a grid cannot enumerate; give it a step, or use choices"
        )
    size = prod(parameter.count or 1 for parameter in space.parameters.values())
    if not continuous and size > MAX_GRID:
        yield Problem(
            ("sampler",), f"the grid has up to {size} points; at most {MAX_GRID}: use wider steps or `type: qmc`"
        )


def _pruner_problems(space: SpaceModel) -> Iterator[Problem]:
    pruner: object = space.pruner
    where: Path = ("pruner",)
    if isinstance(pruner, PatientSettings) and pruner.wrapped is not None:
        pruner, where = pruner.wrapped, ("pruner", "wrapped")
    if not isinstance(pruner, SuccessiveHalvingSettings | HyperbandSettings):
        return
    most = space.pruned_epochs()
    if isinstance(pruner, HyperbandSettings) and pruner.max_resource != "auto":
        most = pruner.max_resource
    if pruner.min_resource != "auto" and pruner.min_resource > most:
        text = f"{pruner.min_resource} is more than the {most} epochs that count ({space.pruning_starts}); lower it"
        yield Problem((*where, "min_resource"), text)


def _combination_problems(space: SpaceModel) -> Iterator[Problem]:
    """Combinations that `TrialSettings` refuses. All are tried where they are few, else a fixed random sample."""
    candidates = {path: parameter.probes() for path, parameter in space.parameters.items()}
    found: set[str] = set()
    if prod(len(values) for values in candidates.values()) <= MAX_PROBES:
        tried = combinations(space.parameters, space.order, candidates, space.base)
    else:
        source = random.Random(0)
        draws = range(MAX_PROBES)
        tried = (random_combination(space.parameters, space.order, candidates, space.base, source) for _ in draws)
    for values in tried:
        try:
            with_values(space.trial, values)
        except ValidationError as error:
            text = refusal(error, values)
            guilty = text.split(":", 1)[0]
            kind = guilty.split("=", 1)[0]
            if kind not in found:
                found.add(kind)
                path: Path = ("parameters", kind) if kind in space.parameters else ("parameters",)
                yield Problem(path, f"{text}; make every combination trainable")
