"""What the service does with what it has read: a file that loads must also be usable. All raise UserErrors."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from selector.data import Dataset, DataSettings, load
from selector.model import PointerSelector
from selector.reports import EpochReport
from selector.training.stage import TrainingStage
from sweep.errors import SpaceError
from sweep.evaluation.records import Evaluation, read_evaluation, settings_digest
from sweep.items import ItemsSettings, ItemTable, open_items
from sweep.report.evaluation import render
from sweep.results.card import Card, CardOptions
from sweep.results.card_text import card_text
from sweep.results.evaluations import DECLARED
from sweep.results.export import Exported
from sweep.results.policies import Policy, policies, winner_checkpoint
from sweep.runs.paths import RunPaths
from sweep.space import SearchSpace, canonical, parse_space
from sweep.storage.local import stored_at
from sweep.study import Standing, TrialSummary
from sweep.terminal.console import Screen
from sweep.trials.checkpoints import read_checkpoint, read_manifest
from sweep.trials.messages import EpochResult
from sweep.trials.rce_store import RceStore
from sweep.trials.trial import Trial, _latest_state
from tests.fuzz.builders import Good
from tests.sweep.spaces import trial


def opened(path: Path, **more: Any) -> Dataset:
    """A data set as the door lets it in."""
    found = load(DataSettings(path=path, **more))
    assert found.queries and np.isfinite(found.embeddings).all()
    assert found.beam_picks.min() >= 0 and found.pool_items.max() < len(found.embeddings)
    return found


def opened_items(**settings: Any) -> ItemTable:
    """Items with all that is asked of them before a run; images may be missing or unreadable."""
    table = open_items(ItemsSettings.model_validate(settings))
    for item in range(len(table)):
        assert table.question(item).strip() and all(isinstance(text, str) for text in table.answers(item))
    return table


def used_space(text: str) -> SearchSpace:
    """A space with what a run asks of it before its first trial; also this is quick and bounded."""
    try:
        space = parse_space(text, "f.yaml")
    except SpaceError as error:
        assert str(error).startswith("f.yaml:"), error
        raise
    assert isinstance(space, SearchSpace)
    _ = (space.order, space.distributions, space.points, space.epochs(), space.pruned_epochs(), canonical(space))
    return space


def exported(folder: Path) -> dict[str, Any]:
    """A stored epoch, as `export` and `verify` read it."""
    read_checkpoint(stored_at(folder))
    manifest = {**read_manifest(stored_at(folder)), "chosen": "by number", "verdict": "none"}
    config = PointerSelector.from_pretrained(folder).config
    assert card_text(Card(config, manifest, None, None), CardOptions(), [], folder.name).encode()  # as it is written
    assert Exported(folder, manifest["trial"], manifest, "by number", "none").sentence.encode()
    return manifest


def compared(paths: RunPaths, digest: str) -> list[Policy]:
    """The rows that trial 0 and its warm-up are in the table, loaded; what is damaged is left out and said so."""
    complete = TrialSummary(
        number=0, state=TrialState.COMPLETE, params={}, value=1.0, best_value=1.0, last_step=5, reason="",
        configuration=0, repeat=0, key="key", seed=0, attempt=0, duration=1.0, standing=Standing(rce_digest=digest),
    )  # fmt: skip
    found = policies(paths, [complete], 1)
    for one in found:
        one.load()
    return found


def warmed_up(good: Good) -> list[EpochReport]:
    """The epochs of a warm-up that is complete, as the next trial that shares it reads them."""
    key = trial(good.context, good.dataset)._key
    return list(RceStore(good.paths.rce_folder).epochs(key, lambda: pytest.fail("it is complete"), {}))


def continued(good: Trial, stage: TrainingStage) -> EpochResult:
    """The last report of an interrupted trial once more, and its stage as it was then."""
    result = next(iter(good))
    resumed = _latest_state(good._paths.resume_folder)
    if resumed is not None and resumed.state is not None:
        good._restore(stage, resumed.state)
    return EpochResult.from_json(result.to_json())


def shown(paths: RunPaths) -> Evaluation:
    """An evaluation as `status` and `export` read it."""
    found = read_evaluation(paths.evaluation(DECLARED).file)
    for width in (60, 200):
        Screen(file=io.StringIO(), width=width).print(render(found))
    winner_checkpoint(paths, found)
    if found.source is not None:
        settings_digest(found.settings, found.source)
    return found
