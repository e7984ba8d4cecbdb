from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.settings.vlm import VlmSettings
from sweep.vlm.engine.engine import Engine
from tests.sweep.vlm.models import MemoryTable, build_table, write_checkpoint
from tests.sweep.vlm.plain import Plain

Make = Callable[..., VlmSettings]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("vlm") / "random")


@pytest.fixture(scope="session")
def make(checkpoint: Path) -> Make:
    """Settings of the random checkpoint; sections as keyword arguments."""

    def made(**sections: object) -> VlmSettings:
        return VlmSettings.model_validate({"model": {"path": str(checkpoint)}, **sections})

    return made


@pytest.fixture(scope="session")
def table() -> MemoryTable:
    return build_table()


@pytest.fixture(scope="session")
def engine(make: Make) -> Engine:
    return Engine(make(), "cpu")


@pytest.fixture(scope="session")
def plain(make: Make) -> Plain:
    return Plain(make())
