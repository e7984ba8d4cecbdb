"""Every reader on changed files: it loads them or refuses them with a typed error, soon and in bounds."""

from __future__ import annotations

import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.harness import budget
from tests.fuzz.mutations import mutated_file
from tests.fuzz.targets import TARGETS, Target


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Target:
    return TARGETS[request.param](tmp_path_factory.mktemp(request.param))


def test_good_files_load_and_some_changed_ones_are_refused(target: Target) -> None:
    assert "atheris" not in sys.modules
    assert all(target.load(seed) is not None for seed in target.seeds)
    random = Random(0)
    assert any(target.load(mutated_file(target.seeds[0], random, target.alter)) is None for _ in range(50))


@budget()
@given(random=st.randoms(use_true_random=True))
def test_a_changed_file_loads_or_is_refused(target: Target, random: Random) -> None:
    target.load(mutated_file(random.choice(target.seeds), random, target.alter))
