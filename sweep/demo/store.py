"""The demo data on disk: an item table, the queries with their pools and splits, and the features.

- `items.parquet`: question string, answers list<string> (ten), image_id int64, question_id int64, image_bytes binary
  (PNG). Row number = item id. A row group has 64 rows, so that one image is read without the others.
- `queries.parquet`: query_item int64, pool list<int64> (item ids), split int8 (0 train, 1 val, 2 test).
- `embeddings.npy`: float32 [items, features]. Row number = item id.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from selector.errors import DataError
from sweep.demo.drawing import ByteArray
from sweep.demo.features import item_features
from sweep.demo.model import DEMO_MODEL_FOLDER, load_demo_model
from sweep.demo.world import World, make_world
from sweep.settings.demo import WorldSettings

ITEMS, QUERIES, EMBEDDINGS = "items.parquet", "queries.parquet", "embeddings.npy"
ROW_GROUP = 64


def make_demo_items(folder: Path, settings: WorldSettings | None = None) -> None:
    """Write the demo data. Equal settings give equal bytes on the same machine.

    Args:
        folder: made if it is missing. Files of the same names are replaced, each when its successor is complete.
        settings: None for the defaults.

    Raises:
        DataError: the folder cannot be written.
    """
    world = make_world(settings or WorldSettings())
    features = item_features(load_demo_model(DEMO_MODEL_FOLDER), world.images[world.image], world.questions)
    items, queries = items_table(world), queries_table(world)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / ITEMS, lambda file: pq.write_table(items, file, row_group_size=ROW_GROUP))
        _write(folder / EMBEDDINGS, lambda file: np.save(file, features, allow_pickle=False))
        _write(folder / QUERIES, lambda file: pq.write_table(queries, file))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"{folder}: the demo data cannot be written ({reason})") from None


def items_table(world: World) -> pa.Table:
    """The item table of a world."""
    encoded = [png(image) for image in world.images]
    count = world.settings.items
    return pa.table(
        {
            "question": pa.array(world.questions, pa.string()),
            "answers": pa.array([list(said) for said in world.answers], pa.list_(pa.string())),
            "image_id": pa.array(world.image, pa.int64()),
            "question_id": pa.array(np.arange(count), pa.int64()),
            "image_bytes": pa.array([encoded[number] for number in world.image.tolist()], pa.binary()),
        }
    )


def queries_table(world: World) -> pa.Table:
    """The queries of a world, with pools and splits."""
    return pa.table(
        {
            "query_item": pa.array(world.query_items, pa.int64()),
            "pool": pa.array([pool.tolist() for pool in world.pools], pa.list_(pa.int64())),
            "split": pa.array(world.split, pa.int8()),
        }
    )


def png(image: ByteArray) -> bytes:
    """An image, uint8 [H, W, 3], as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _write(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            write(file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
