from __future__ import annotations

import pytest

from sweep.demo.settings import WorldSettings
from sweep.demo.world import World, make_world


@pytest.fixture(scope="session")
def world() -> World:
    return make_world(WorldSettings())
