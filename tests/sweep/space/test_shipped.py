"""Each search space that ships, at toy size: its settings and points, on a small world, where a rule answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from selector.settings import AdvantageMode, CurriculumFilter, RewardMode
from sweep.evaluation.records import read_evaluation
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.space import find_space, load_space
from sweep.space.document import read_document
from sweep.space.files import shipped_spaces
from sweep.study import read_summaries
from tests.sweep.finished import finished_run

EPOCHS = re.compile(r'(epochs": (?:\{"type": "categorical", "choices": \[0, )?)(\d+)')


def toy(name: str, items: Path, epochs: dict[int, int], **sections: dict[str, object]) -> str:
    """A shipped space over a small world. Epochs are mapped wherever they stand, conditions and points included."""
    space = read_document(*find_space(name)).value
    space["items"] = {"path": str(items)}
    space["vlm"] = {"model": {"path": "demo"}, "images": {"min_pixels": 784}}
    space["collect"] = {"picks": space["collect"]["picks"], "beams": space["collect"]["beams"]}
    space.pop("embed", None)  # the world's items bring their embeddings
    space["trial"]["model"] |= {"hidden": 16}
    for section, values in sections.items():
        space[section] = space.get(section, {}) | values
    return EPOCHS.sub(lambda found: found[1] + str(epochs.get(int(found[2]), int(found[2]))), json.dumps(space))


@pytest.fixture(scope="module")
def items(finished: RunPaths) -> Path:
    """The items of a small world, with pools and embeddings, as another run has made them."""
    (folder,) = (finished.shared.root / "items").local().iterdir()
    return folder


def run(folder: Path, space: str) -> RunPaths:
    paths = finished_run(folder, space)
    assert paths.ranking_file.exists()
    return paths


def test_every_space_that_ships_is_tested_here() -> None:
    assert shipped_spaces() == ["beams.yaml", "grpo.yaml", "okvqa.yaml", "plans.yaml", "vqav2.yaml"]


@pytest.mark.parametrize("name", ["grpo", "okvqa", "vqav2"])
def test_a_space_goes_from_items_to_a_ranking(tmp_path: Path, items: Path, name: str) -> None:
    few = {"evaluation": {"samples": None, "top": 2, "resamples": 1000}, "budget": {"trials": 3}}
    if name != "grpo":
        few["evaluation"] |= {"racing": {"start": 20}, "finalists": {"count": 1, "seeds": 1}}
    paths = run(tmp_path, toy(name, items, {16: 3, 10: 3, 5: 2, 4: 2}, **few))
    evaluation = read_evaluation(paths.evaluation("declared").file)
    assert {"similarity", "random"} < {row.name for row in evaluation.rows} and evaluation.shots == (1, 2, 3, 4)


def test_plans_trains_every_point_under_three_seeds(tmp_path: Path, items: Path) -> None:
    few = {"evaluation": {"samples": None, "resamples": 1000, "finalists": {"count": 2, "seeds": 1}}}
    paths = run(tmp_path, toy("plans", items, {10: 2, 5: 1}, **few))
    record = read_record(paths)
    rows = read_summaries(record.storage_url(paths), record.study)
    points = load_space("plans").points
    assert len(points) == 16 and len(rows) == 3 * len(points) and all(row.is_complete for row in rows)
    assert len({row.key for row in rows}) == len(points)
    by_key: dict[str, set[int]] = {}
    for row in rows:
        settings = json.loads(paths.trial(row.number).settings_file.read_bytes())
        by_key.setdefault(row.key, set()).add(settings["seed"])
    assert set(map(frozenset, by_key.values())) == {frozenset({0, 1, 2})}


def test_plans_holds_the_configurations_of_the_reports() -> None:
    space = load_space("plans")
    settings = [space.resolve(point, 0) for point in space.points]
    grpo = [one for one in settings if one.grpo.epochs]
    assert [one.grpo.epochs for one in settings].count(0) == 1  # RCE only
    assert {one.grpo.advantage for one in grpo} == {AdvantageMode.ZSCORE, AdvantageMode.RANK}
    assert {one.grpo.kl_beta for one in grpo if not one.grpo.ppo_clip_only} == {0.01, 0.05, 0.1, 0.15}
    assert {one.grpo.lr for one in grpo} == {5e-6, 1e-5, 2e-5, 5e-5}
    assert {one.grpo.freeze_backbone for one in grpo} == {one.grpo.ppo_clip_only for one in grpo} == {False, True}
    assert {RewardMode.SEPARATED, RewardMode.HARD_PLUS_GTPROB_PLUS_REL} < {one.reward.mode for one in grpo}
    phases = {one.grpo.curriculum.filter for one in grpo if one.grpo.curriculum.epochs}
    assert phases == {CurriculumFilter.HAS_POSITIVE, CurriculumFilter.CONTRAST}
    assert {one.grpo.top_k.enabled for one in grpo} == {False, True}
    assert space.repeats == 3 and space.evaluation is not None and space.evaluation.samples == 800
    assert space.evaluation.finalists.count == len(settings) and space.budget.trials == 3 * len(settings)
