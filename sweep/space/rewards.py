"""Which rewards a space can ask for, so that missing data is found before the first trial."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from selector.settings import RewardSettings, TrialSettings
from sweep.space.addresses import Scalar, with_values
from sweep.space.conditions import combinations, with_ancestors
from sweep.space.search_space import SearchSpace

_DECISIVE = ("mode", "alpha", "beta")
_MAX_VALUES = 12


def reachable_rewards(space: SearchSpace) -> list[RewardSettings]:
    """Every reward that the validation or some trial can use, each once, the validation's first.

    The mode is exact, and for `legacy` also whether alpha and beta are zero, as a term of weight 0 needs no column.
    Other weights are those of the fixed settings, since they do not change which columns are needed.
    """
    epochs = ("rce.epochs", "grpo.epochs")
    decisive = {f"{section}.{name}" for section in ("reward", "rce.reward") for name in _DECISIVE}
    # Any rce.reward.* gives the warm-up a reward section of its own. One candidate each is enough to know that.
    paths = {path for path in space.order if path in decisive or path in epochs or path.startswith("rce.reward.")}
    chain = with_ancestors(space.parameters, space.order, paths)
    candidates = {path: _representatives(space, path) for path in chain}
    found = {space.validation.reward.model_dump_json(): space.validation.reward}
    for values in combinations(space.parameters, chain, candidates, space.base):
        try:
            settings = with_values(space.trial, values)
        except ValidationError:
            continue  # no trial can have this combination
        for reward in _used(settings):
            found.setdefault(reward.model_dump_json(), reward)
    return list(found.values())


def _used(settings: TrialSettings) -> Iterator[RewardSettings]:
    if settings.rce.epochs:
        yield settings.rce_reward
    if settings.grpo.epochs:
        yield settings.reward


def _representatives(space: SearchSpace, path: str) -> list[Scalar]:
    """Values that tell all cases apart: all of them where they are few, else ends, zero, and what conditions name."""
    parameter = space.parameters[path]
    if parameter.count is not None and parameter.count <= _MAX_VALUES:
        return list(parameter.values())
    special = [0, *(value for other in space.parameters.values() for value in other.conditions().get(path, ()))]
    return list(dict.fromkeys([*parameter.probes(), *filter(parameter.contains, special)]))
