"""Where questions, images and embeddings come from. Demo items are made here, once for all runs of a folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from selector.arrays import Float32Array
from selector.data.embeddings import load_embeddings
from selector.errors import DataError
from sweep.demo.store import make_demo_items
from sweep.errors import SpaceError
from sweep.items import ItemTable, open_items
from sweep.runs.paths import SharedPaths
from sweep.settings.collect import BuildSettings, CollectSettings
from sweep.settings.demo import WorldSettings
from sweep.settings.items import ItemsSettings
from sweep.settings.vlm import DEMO_MODEL, ModelSettings
from sweep.space import SearchSpace
from sweep.storage.hashes import canonical_hash
from sweep.storage.local import stored_at
from sweep.vlm.keys import model_identity

EMBEDDINGS_FILE, QUERIES_FILE = "embeddings.npy", "queries.parquet"


@dataclass(frozen=True)
class Source:
    """Items of a space. `folder` holds them in native form, and perhaps their embeddings and queries."""

    table: ItemTable
    folder: Path | None

    def collect_settings(self, settings: CollectSettings) -> CollectSettings:
        """The settings, with queries that lie beside the items where the space does not say how to make them."""
        if self.folder is None or settings.queries is not None or settings.build != BuildSettings():
            return settings
        file = self.folder / QUERIES_FILE
        return settings.replace(queries=file) if file.is_file() else settings

    def embeddings(self, settings: CollectSettings) -> Float32Array:
        """The embedding table, float32 [items, width].

        Raises:
            DataError: none is named and none lies beside the items, or it cannot be read.
        """
        beside = None if self.folder is None else self.folder / EMBEDDINGS_FILE
        file = settings.embeddings or beside
        if file is None or (settings.embeddings is None and not file.is_file()):
            raise DataError("collect.embeddings: name the file with one row per item (.npy, .pt or .pth)")
        return load_embeddings(file)


def open_source(space: SearchSpace, shared: SharedPaths) -> Source:
    """The items that a space names.

    Raises:
        SpaceError: the space has no section `items`.
        DataError: they cannot be read.
    """
    if space.items is None:
        raise SpaceError(f"space {space.name!r} has no section items: questions with images")
    settings = space.items
    if settings.demo is not None:
        settings = ItemsSettings(path=_demo_folder(settings.demo, shared))
    folder = settings.path if settings.path is not None and settings.path.is_dir() else None
    return Source(open_items(settings), folder)


def demo_items_folder(settings: WorldSettings, shared: SharedPaths) -> Path:
    """Where demo items are or will be, named by everything that they depend on."""
    features = model_identity(ModelSettings(path=DEMO_MODEL))
    return shared.items_folder(canonical_hash([settings.model_dump(mode="json"), features]))


def _demo_folder(settings: WorldSettings, shared: SharedPaths) -> Path:
    """The demo items, made now if no run has made them yet."""
    target = demo_items_folder(settings, shared)
    if not (target / EMBEDDINGS_FILE).is_file():
        shutil.rmtree(target, ignore_errors=True)
        with stored_at(target).new_folder() as folder:
            make_demo_items(folder, settings)
    return target
