"""The space parser on altered shipped spaces: a space or a SpaceError, quickly, whatever the numbers."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweep.space import SearchSpace, parse_space
from sweep.space.document import read_document
from sweep.space.files import shipped_spaces
from tests.fuzz.harness import altered, budget, held, mutated

TEXTS = {name: resources.files("search_spaces").joinpath(name).read_text(encoding="utf-8") for name in shipped_spaces()}
FULL: dict[str, Any] = {
    "name": "full",
    "trial": {"grpo": {"epochs": 3}, "model": {"hidden": 16, "heads": 2}},
    "parameters": {
        "grpo.lr": {"type": "float", "low": 1e-6, "high": 1e-3, "log": True},
        "grpo.kl_beta": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1},
        "grpo.batch_size": {"type": "int", "low": 16, "high": 64, "step": 16},
        "reward.mode": {"type": "categorical", "choices": ["hard_plus_soft", "separated"]},
        "grpo.adaptive_beta.enabled": {"type": "categorical", "choices": [True, False]},
        "grpo.adaptive_beta.factor": {
            "type": "float",
            "low": 1.2,
            "high": 3,
            "when": {"grpo.adaptive_beta.enabled": True},
        },
        "grpo.advantage": "rank",
    },
    "enqueue": [{"grpo.lr": 5e-5, "reward.mode": "separated"}],
    "sampler": {"type": "tpe", "n_startup_trials": 3},
    "pruner": {"type": "hyperband", "min_resource": 1},
    "budget": {"trials": 6, "hours": 2.5},
    "resources": {"cpus": 1, "gpus": 0.5},
    "max_disk_gb": 2.5,
}


def parsed(text: str) -> SearchSpace | None:
    found = (
        held(
            lambda: parse_space(text, "f.yaml"),
        )
        if len(text) < 10**6
        else None
    )
    assert found is None or isinstance(found, SearchSpace)
    return found


def used(space: SearchSpace | None) -> None:
    """What a run asks of a space before its first trial; also this is quick and bounded."""
    if space is not None:
        held(lambda: (space.order, space.distributions, space.points, space.epochs(), space.pruned_epochs()))


@budget(2)
@given(data=st.data(), sampler=st.sampled_from(("tpe", "grid", "qmc", "cmaes", "random", "gp")))
def test_values(data: st.DataObject, sampler: str) -> None:
    content = data.draw(altered(FULL | {"sampler": {"type": sampler}}))
    used(parsed(yaml.safe_dump(content, allow_unicode=True)))


@budget()
@given(data=st.data(), name=st.sampled_from(sorted(TEXTS)))
def test_values_of_shipped_spaces(data: st.DataObject, name: str) -> None:
    used(parsed(yaml.safe_dump(data.draw(altered(read_document(TEXTS[name], name).value)), allow_unicode=True)))


@budget()
@given(data=st.data(), name=st.sampled_from(sorted(TEXTS)))
def test_bytes_of_shipped_spaces(data: st.DataObject, name: str) -> None:
    parsed(data.draw(mutated(TEXTS[name].encode())).decode("utf-8", errors="replace"))


def test_they_are_good_to_begin_with() -> None:
    assert parsed(yaml.safe_dump(FULL)) is not None
    assert all(parsed(text) is not None for text in TEXTS.values())
