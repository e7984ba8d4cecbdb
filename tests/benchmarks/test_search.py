"""Surfaces: what is recorded is what is looked up, and searching one gives what its table says."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search.__main__ import best_at, studies, table
from benchmarks.search.points import coordinates, spread_points
from benchmarks.search.study import ARMS, Found, database, search
from benchmarks.search.surface import FIELDS, FOLDER, Lookup, Surface, pack
from selector.reports import Stage
from sweep.space import find_space, load_space, parse_space

HEADER = {"surface": "bowl", "space": "spaces/grpo.yaml", "changes": [], "epochs": [4, 10]}


def bowl(params: dict[str, object]) -> float:
    """The lowest loss of a trial: best at a learning rate of 5e-4, and 0.1 higher without a KL term."""
    return 2 + 0.1 * math.log10(float(params["grpo.lr"]) / 5e-4) ** 2 + 0.1 * bool(params["grpo.ppo_clip_only"])


def row(params: dict[str, object]) -> dict[str, object]:
    falling = [3.0] * 4 + [bowl(params) + 0.3 * math.exp(-epoch) for epoch in range(10)]
    return {"params": params, "seconds": 1.0, **dict.fromkeys(FIELDS, [0.5] * 14), "val_loss": falling}


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> Surface:
    folder = tmp_path_factory.mktemp("surface")
    space = load_space("spaces/grpo.yaml")
    lines = [HEADER, *map(row, spread_points(space, 64))]
    (folder / "recorded").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pack(folder / "recorded", folder / "bowl.gz")
    return Surface.read(folder / "bowl.gz")


def test_points_go_on_where_they_ended_and_fill_the_space() -> None:
    space = load_space("spaces/grpo.yaml")
    whole = list(spread_points(space, 64))
    assert whole == [*spread_points(space, 40), *spread_points(space, 24, skip=40)]
    for point in whole:
        space.resolve(point, 0)
        assert ("grpo.kl_beta" in point) != point["grpo.ppo_clip_only"]
    places = np.stack([coordinates(space, point) for point in whole])
    rates = places[:, list(space.distributions).index("grpo.lr")]
    assert np.histogram(rates, bins=8, range=(0, 1))[0].tolist() == [8] * 8
    assert len({point["reward.mode"] for point in whole}) == 8


def test_a_lookup_between_points_is_near_the_truth_and_says_how_near(surface: Surface) -> None:
    errors = surface.header["errors"]
    assert errors["interpolation"]["rms"] < errors["nearest"]["rms"] < errors["spread"]
    others = list(spread_points(surface.space, 64, skip=64))
    off = [surface.best(point) - bowl(point) for point in others]
    assert float(np.sqrt(np.mean(np.square(off)))) < 3 * errors["interpolation"]["rms"]
    assert 1.99 < surface.lowest < 2.01


def test_the_nearest_point_is_the_recorded_trial_itself(surface: Surface) -> None:
    nearest = Surface.read(FOLDER / "demo.jsonl.gz", Lookup.NEAREST)
    point = next(spread_points(nearest.space, 1, skip=7))
    reports = list(nearest.reports(point))
    assert [one.val_loss for one in reports] == nearest._curves_NFE[7, FIELDS.index("val_loss")].tolist()
    assert [one.stage for one in reports] == [Stage.RCE] * 4 + [Stage.GRPO] * 10
    assert [one.step for one in reports] == list(range(1, 15)) and reports[-1].epoch == 10
    assert reports[0].kl is None and reports[-1].kl is not None


def test_epochs_are_counted_and_what_ends_later_does_not_count(surface: Surface) -> None:
    with database() as url:
        found, pruned = (search(surface, arm, 1, 55, 1, url) for arm in ("random", "random + asha"))
    assert found.trials == 6 and [ended for ended, _ in found.complete] == [10, 20, 30, 40, 50]
    assert found.pruned == 0 and not found.best_was_pruned
    assert found.best(9) is None and found.best(20) == min(value for _, value in found.complete[:2])
    assert pruned.trials > 6 and pruned.pruned > 0, "what pruning saves goes to more trials"
    assert Found.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_comparison_goes_on_and_the_first_arm_is_the_base(surface: Surface, tmp_path: Path) -> None:
    out = tmp_path / "studies.jsonl"
    found = studies(surface, ["random", "random + asha"], 2, 40, 1, out)
    before = out.read_text()
    assert studies(surface, ["random + asha", "random"], 2, 40, 1, out)["random"] == found["random"]
    assert out.read_text() == before and len(before.splitlines()) == 4
    lines = table(surface, found, 40)
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| random", "| random + asha"]
    means = [best_at(found[arm], 40).mean() for arm in found]
    assert f"{means[0]:.4f}" in lines[2] and f"{means[1] - means[0]:+.4f}" in lines[3]


@pytest.mark.parametrize("name", ["demo", "votes"])
def test_the_surfaces_that_ship_are_of_the_spaces_as_they_are(name: str) -> None:
    """A space that has changed needs its surface recorded anew."""
    file = FOLDER / f"{name}.jsonl.gz"
    surface = Surface.read(file)
    header = surface.header
    assert file.stat().st_size < 1_000_000 and header["points"] == len(surface) and header["torch"]
    assert surface._curves_NFE.shape[2] == sum(header["epochs"]) == sum(surface.space.epochs())
    space = parse_space(*find_space(header["space"]), tuple(header["changes"]))
    assert (surface._points_NP == [coordinates(space, point) for point in spread_points(space, len(surface))]).all()
    errors = header["errors"]
    assert errors["interpolation"]["rms"] < errors["spread"] / 3


def test_every_arm_is_a_space() -> None:
    space = load_space("spaces/grpo.yaml")
    for sampler, pruner in ARMS.values():
        changed = space.replace(sampler=sampler, pruner=pruner)
        assert changed.sampler.type == sampler["type"] and changed.pruner.type == pruner["type"]
