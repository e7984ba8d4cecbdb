from __future__ import annotations

import pytest

from sweep.demo.world import World, make_world
from sweep.settings.demo import WorldSettings


@pytest.fixture(scope="session")
def world() -> World:
    return make_world(WorldSettings())
