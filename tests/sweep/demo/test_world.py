from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from selector.errors import DataError
from sweep.demo.concepts import (
    COLOURS,
    CONCEPTS,
    HELD_OUT,
    SHAPES,
    TEXTURES,
    Kind,
    concept_id,
    concept_parts,
    held_out,
)
from sweep.demo.drawing import draw
from sweep.demo.features import QUESTION_WIDTH
from sweep.demo.model import WIDTH
from sweep.demo.store import EMBEDDINGS, ITEMS, QUERIES, ROW_GROUP, make_demo_items
from sweep.demo.training.measure import WorldTable, right_picks
from sweep.demo.world import ANNOTATORS, World, make_world
from sweep.settings.demo import WorldSettings

SMALL = WorldSettings(seed=3, demonstrations=200, train=12, val=6, test=9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "items"
    make_demo_items(path, SMALL)
    return path


def test_concept_numbers_and_parts_are_inverse() -> None:
    numbers = np.arange(CONCEPTS)
    shape, colour, texture = concept_parts(numbers)
    assert (concept_id(shape, colour, texture) == numbers).all()
    assert (shape.max() + 1, colour.max() + 1, texture.max() + 1) == (len(SHAPES), len(COLOURS), len(TEXTURES))
    assert held_out().sum() == HELD_OUT
    assert (held_out() == held_out()).all()


def test_images_repeat_by_seed_and_differ_otherwise() -> None:
    concepts = np.arange(CONCEPTS)
    first, again, other = (draw(concepts, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (CONCEPTS, 28, 28, 3) and first.dtype == np.uint8
    assert (first == again).all()
    assert (first != other).any(axis=(1, 2, 3)).all()


def test_every_attribute_shows() -> None:
    """Changing one attribute with the same nuisance changes the picture."""
    base = concept_id(*(np.array([1]) for _ in range(3)))
    for part in range(3):
        parts = [np.array([1]) for _ in range(3)]
        parts[part] = np.array([2])
        changed = concept_id(*parts)
        pair = [draw(concept, np.random.default_rng(5)).astype(int) for concept in (base, changed)]
        assert np.abs(pair[0] - pair[1]).max() > 60


def test_files_repeat_to_the_byte(folder: Path, tmp_path: Path) -> None:
    make_demo_items(tmp_path, SMALL)
    names = {path.name for path in folder.iterdir()}
    assert names == {ITEMS, QUERIES, EMBEDDINGS}
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_another_seed_makes_other_data(folder: Path, tmp_path: Path) -> None:
    make_demo_items(tmp_path, SMALL.replace(seed=4))
    assert (folder / ITEMS).read_bytes() != (tmp_path / ITEMS).read_bytes()


def test_stored_columns(folder: Path) -> None:
    file = pq.ParquetFile(folder / ITEMS)
    table = file.read()
    assert {field.name: str(field.type) for field in table.schema} == {
        "question": "string",
        "answers": "list<element: string>",
        "image_id": "int64",
        "question_id": "int64",
        "image_bytes": "binary",
    }
    assert table.num_rows == SMALL.items
    assert file.metadata.row_group(0).num_rows == ROW_GROUP
    assert {len(said) for said in table["answers"].to_pylist()} == {ANNOTATORS}
    assert len(set(table["question_id"].to_pylist())) == SMALL.items
    queries = pq.read_table(folder / QUERIES)
    assert {field.name: str(field.type) for field in queries.schema} == {
        "query_item": "int64",
        "pool": "list<element: int64>",
        "split": "int8",
    }
    assert Counter(queries["split"].to_pylist()) == {0: SMALL.train, 1: SMALL.val, 2: SMALL.test}
    features = np.load(folder / EMBEDDINGS)
    assert features.shape == (SMALL.items, WIDTH + QUESTION_WIDTH) and features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_stored_images_decode_to_those_drawn(folder: Path) -> None:
    world = make_world(SMALL)
    table = pq.read_table(folder / ITEMS)
    for row in (0, 1, SMALL.demonstrations, SMALL.items - 1):
        with Image.open(io.BytesIO(table["image_bytes"][row].as_py())) as image:
            assert image.mode == "RGB"
            pixels = np.asarray(image)
        assert (pixels == world.images[table["image_id"][row].as_py()]).all()


def test_queries_share_nothing_with_candidates_or_each_other(world: World) -> None:
    queries = world.query_items
    images = world.image[queries]
    assert len(set(images.tolist())) == len(queries)
    assert not set(images.tolist()) & set(world.image[: world.settings.demonstrations].tolist())
    for pool in world.pools:
        assert len(set(pool.tolist())) == len(pool)
        assert pool.max() < world.settings.demonstrations
        assert world.settings.smallest_pool <= len(pool) <= world.settings.largest_pool


def test_items_of_one_image_ask_different_things(world: World) -> None:
    asked = Counter(zip(world.image.tolist(), world.kind.tolist(), strict=True))
    assert max(asked.values()) == 1
    shared = Counter(world.image.tolist())
    assert 1 < max(shared.values()) <= len(Kind)


def test_most_annotators_are_right(world: World) -> None:
    table = WorldTable(world)
    partial = 0
    for item, said in enumerate(world.answers):
        (first, count), *others = Counter(said).most_common()
        assert first == table.shown_answer(item)
        assert count >= 7
        partial += bool(others)
    assert 0.4 < partial / len(world.answers) < 0.8


def test_few_candidates_help_and_most_queries_can_be_helped(world: World) -> None:
    picks = right_picks(world)
    kinds = world.kind[world.query_items]
    for kind, at_least, shots in ((Kind.NAME, 0.8, 1), (Kind.MAKER, 0.8, 1), (Kind.CODE, 0.95, 2)):
        mine = [pick for pick, asked in zip(picks, kinds, strict=True) if asked == kind]
        assert np.mean([len(pick) > 0 for pick in mine]) > at_least
        assert max(len(pick) for pick in mine) == shots
    for query, pool in zip(world.query_items, world.pools, strict=True):
        if world.kind[query] in (Kind.NAME, Kind.MAKER):
            same = (world.kind[pool] == world.kind[query]) & (world.concept[pool] == world.concept[query])
            assert same.sum() <= 2


def test_small_pools_have_the_sizes_asked_for() -> None:
    small = WorldSettings(demonstrations=200, train=20, val=5, test=5, concepts=8, smallest_pool=16, largest_pool=17)
    assert {len(pool) for pool in make_world(small).pools} <= {16, 17}
    assert all(len(set(pool.tolist())) == len(pool) for pool in make_world(small).pools)


def test_words_of_a_lexicon_are_distinct(world: World) -> None:
    lexicon = world.lexicon
    assert len({*lexicon.names, *lexicon.makers}) == 2 * CONCEPTS
    assert len({*lexicon.colour_codes, *lexicon.shape_codes}) == len(COLOURS) + len(SHAPES)


def test_held_out_concepts_occur_in_the_data(world: World) -> None:
    assert held_out()[world.concept].any()


def test_nonsense_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="smallest_pool 50 is above largest_pool 48"):
        WorldSettings(smallest_pool=50)


def test_unwritable_folder_is_the_users_to_mend(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(DataError, match="cannot be written"):
        make_demo_items(blocked, SMALL)
