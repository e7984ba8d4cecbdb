"""Embedding all items: each input once, at any kill the same bytes, and what is stored."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from selector.arrays import Float32Array
from selector.data.embeddings import unit_rows
from selector.errors import DataError
from sweep.embed.model import EmbeddingModel, load_model
from sweep.embed.parts import Part, PartStore, PartVectors, inventory
from sweep.embed.service import Embedding, embed_items
from sweep.embed.store import TABLE, EmbeddingManifest, is_embedded, read_manifest, read_table
from sweep.embed.worker import Embedder, EmbedTable
from sweep.errors import RunError
from sweep.items import ItemTable
from sweep.settings.embed import EmbedSettings, Inputs
from sweep.settings.vlm import ImageSettings
from sweep.storage.local import stored_at
from sweep.vlm.work import Failure, FailureKind, WorkItem
from tests.sweep.embed.conftest import IMAGES

QUIET = Console(file=io.StringIO())
KILLED = "killed"


@cache
def clip(folder: Path) -> EmbeddingModel:
    settings = EmbedSettings.model_validate({"model": {"path": str(folder)}})
    return load_model(settings, settings.model, ImageSettings(), "cpu")


class Counting:
    """The worker in this process, which counts what it decodes, and may be killed."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._model = model
        self.read: Counter[bytes] = Counter()
        self.parts = 0

    def read_image(self, content: bytes) -> object:
        self.read[content] += 1
        return self._model.read_image(content)

    def images(self, images: Sequence[object]) -> Float32Array:
        return self._model.images(images)

    def questions(self, texts: Sequence[str]) -> Float32Array:
        return self._model.questions(texts)


class World:
    """A folder to embed into, and what it took."""

    def __init__(self, root: Path, items: ItemTable, checkpoint: Path, **settings: object) -> None:
        values = {"model": {"path": str(checkpoint)}, "failure_limit": 0.1, **settings}
        self.work = Embedding(EmbedSettings.model_validate(values), None, items, stored_at(root / "parts"))
        self.folder = root / "embeddings"
        self.model = Counting(clip(checkpoint))

    def embed(self, kill_after: int | None = None, backwards: bool = False) -> EmbeddingManifest:
        """Parts in this order, of which the driver is killed after some."""

        def run(parts: Sequence[Part]) -> Generator[tuple[Part, PartVectors | Failure], None, None]:
            table, embedder = EmbedTable(self.work.items, parts), Embedder(self.model, 2)
            for number, place in enumerate(reversed(range(len(parts))) if backwards else range(len(parts))):
                if number == kill_after:
                    raise KeyboardInterrupt(KILLED)
                self.model.parts += 1
                yield parts[place], embedder.answer(table, [WorkItem(place)])[0]

        return embed_items(self.work, stored_at(self.folder), QUIET, run)

    def table(self, name: str = TABLE) -> Float32Array:
        return read_table(self.folder, read_manifest(self.folder), name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, items: ItemTable, checkpoints: dict[str, Path]) -> World:
    world = World(tmp_path_factory.mktemp("whole"), items, checkpoints["clip"])
    world.embed()
    return world


def test_each_image_is_decoded_once_and_items_without_one_have_rows_of_zeros(whole: World) -> None:
    assert len(whole.model.read) == IMAGES - 1 and set(whole.model.read.values()) == {1}
    assert whole.model.parts == 3  # 69 images in two, 10 questions in one
    manifest = read_manifest(whole.folder)
    assert (manifest.rows, manifest.width, manifest.without_image) == (2 * IMAGES, 24, 4)
    for name in (TABLE, "image", "question"):
        zero = np.flatnonzero(~whole.table(name).any(axis=1))
        assert zero.tolist() == [2, 3, 4, 5]
        lengths = np.linalg.norm(np.delete(whole.table(name), zero, axis=0), axis=1)
        assert np.abs(lengths - 1).max() < 1e-6


def test_rows_are_those_of_each_items_own_image_and_question(whole: World, items: ItemTable) -> None:
    for item in (0, 1, 77, 139):
        model = whole.model._model
        image = unit_rows(model.images([model.read_image(items.image_bytes(item))]))
        question = unit_rows(model.questions([items.question(item)]))
        assert np.abs(whole.table("image")[item] - image[0]).max() < 1e-6
        assert np.abs(whole.table("question")[item] - question[0]).max() < 1e-6
        assert np.abs(whole.table()[item] - unit_rows(0.5 * image + 0.5 * question)[0]).max() < 1e-6


@pytest.mark.parametrize("kill_after", range(3))
def test_a_kill_anywhere_gives_the_same_bytes_and_computes_no_part_twice(
    tmp_path: Path, items: ItemTable, checkpoints: dict[str, Path], whole: World, kill_after: int
) -> None:
    world = World(tmp_path, items, checkpoints["clip"])
    with pytest.raises(KeyboardInterrupt, match=KILLED):
        world.embed(kill_after, backwards=True)
    assert not is_embedded(world.folder)
    assert world.embed() == read_manifest(whole.folder)
    assert world.model.parts == whole.model.parts
    for name in (TABLE, "image", "question"):
        file = f"{name}.npy"
        assert (world.folder / file).read_bytes() == (whole.folder / file).read_bytes()


def test_another_mix_computes_nothing_again(
    tmp_path: Path, items: ItemTable, checkpoints: dict[str, Path], whole: World
) -> None:
    settings = {"combine": "concatenation", "image_weight": 0.8}
    world = World(tmp_path, items, checkpoints["clip"], **settings)
    world.work = Embedding(world.work.settings, None, items, whole.work.parts)
    world.embed()
    assert world.model.parts == 0 and world.table().shape == (2 * IMAGES, 48)
    image, question, both = world.table("image"), world.table("question"), world.table()
    cosine = both @ both.T  # of a concatenation: the weighted mean of both cosines
    assert np.abs(cosine - (0.8 * image @ image.T + 0.2 * question @ question.T)).max() < 1e-5
    alone = World(tmp_path / "alone", items, checkpoints["clip"], inputs="question")
    alone.embed()
    assert alone.table().any(axis=1).all() and not (alone.folder / "question.npy").exists()
    assert read_manifest(alone.folder).table_of(Inputs.QUESTION) == TABLE


def test_a_damaged_part_is_computed_again_and_a_damaged_table_is_refused(
    tmp_path: Path, items: ItemTable, checkpoints: dict[str, Path], whole: World
) -> None:
    world = World(tmp_path, items, checkpoints["clip"])
    world.embed()
    for number, file in enumerate(sorted((tmp_path / "parts").iterdir())):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content[: -1 if number else None])
    again = World(tmp_path, items, checkpoints["clip"])
    again.folder = tmp_path / "again"
    assert again.embed() == read_manifest(whole.folder)
    assert again.model.parts == whole.model.parts
    table = np.load(again.folder / "embeddings.npy")
    table[7, 3] += 1e-6
    np.save(again.folder / "embeddings.npy", table)
    with pytest.raises(DataError, match=r"is not what manifest\.json says"):
        again.table()


def test_more_items_at_the_end_leave_the_parts_before_them(items: ItemTable) -> None:
    class Fewer:
        def __len__(self) -> int:
            return len(items) - 4

        question, image_hash = items.question, items.image_hash

    few, many = (inventory(Inputs.IMAGE, table, {}) for table in (Fewer(), items))  # type: ignore[arg-type]
    assert [part.key for part in few.parts][:-1] == [part.key for part in many.parts][:-1]
    assert few.parts[-1].key != many.parts[-1].key
    assert many.missing.keys() == {2, 3}


def test_too_many_missing_images_and_failures_stop_with_a_reason(
    tmp_path: Path, items: ItemTable, checkpoints: dict[str, Path]
) -> None:
    strict = World(tmp_path, items, checkpoints["clip"], failure_limit=0.02)
    with pytest.raises(RunError, match=r"4 of 140 items have no image that can be read.*failure_limit 0.02.*"):
        strict.embed()
    strict = World(tmp_path, items, checkpoints["clip"], failure_limit=0.01)
    before = strict.model.parts
    with pytest.raises(RunError, match=r"2 of 140 items have no image"):  # before anything is computed
        strict.embed()
    assert strict.model.parts == before

    def failing(parts: Sequence[Part]) -> Generator[tuple[Part, PartVectors | Failure], None, None]:
        yield parts[0], Failure(FailureKind.CRASH, "ended its worker 3 times")

    world = World(tmp_path / "other", items, checkpoints["clip"])
    with pytest.raises(RunError, match=r"a part of 64 images \(from item 0 on\).*ended its worker 3 times"):
        embed_items(world.work, stored_at(world.folder), QUIET, failing)
    assert PartStore(world.work.parts).names() == set()
