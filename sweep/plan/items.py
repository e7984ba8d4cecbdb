"""Where questions, images and embeddings come from. Demo items are made here, once for all runs of a folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from selector.arrays import Float32Array
from selector.data.embeddings import load_embeddings
from selector.errors import DataError
from sweep.demo.store import make_demo_items
from sweep.embed.store import EmbeddingManifest, is_embedded, read_manifest, read_table
from sweep.errors import SpaceError
from sweep.items import ItemTable, open_items
from sweep.runs.paths import SharedPaths
from sweep.settings.collect import BuildSettings, CollectSettings, PoolBy
from sweep.settings.demo import WorldSettings
from sweep.settings.embed import Inputs
from sweep.settings.items import ItemsSettings
from sweep.settings.vlm import DEMO_MODEL, ModelSettings
from sweep.space import SearchSpace
from sweep.storage.hashes import canonical_hash
from sweep.storage.local import stored_at
from sweep.vlm.keys import model_identity

EMBEDDINGS_FILE, QUERIES_FILE = "embeddings.npy", "queries.parquet"


@dataclass(frozen=True)
class EmbeddingTables:
    """Embeddings of all items, each float32 [items, width].

    Attributes:
        table: what selectors read.
        separate: those of images or questions alone, for the pools that need them.
        manifest: what made them, where they come from a folder of `sweep embed`.
    """

    table: Float32Array
    separate: dict[PoolBy, Float32Array]
    manifest: EmbeddingManifest | None

    @classmethod
    def of_folder(cls, folder: Path, settings: CollectSettings) -> EmbeddingTables:
        """Those that `sweep embed`, or a run, made. Raises DataError."""
        manifest = read_manifest(folder)
        return cls(read_table(folder, manifest), separate_tables(settings, folder, manifest), manifest)


def _made_folder(named: Path) -> Path | None:
    """The folder of `sweep embed` that a path names, itself or by its table. None where it names another file."""
    if named.is_dir():
        return named
    is_table = named.name == EMBEDDINGS_FILE and is_embedded(named.parent)
    return named.parent if is_table else None


def separate_tables(
    settings: CollectSettings, folder: Path | None, manifest: EmbeddingManifest | None
) -> dict[PoolBy, Float32Array]:
    """Embeddings of images or questions alone, as far as the pools need them.

    Raises:
        DataError: a pool needs embeddings that nobody names.
    """
    found: dict[PoolBy, Float32Array] = {}
    needed = settings.build.pool.counts() if settings.queries is None else {}
    for kind, named in ((PoolBy.IMAGE, settings.image_embeddings), (PoolBy.QUESTION, settings.question_embeddings)):
        if kind not in needed:
            continue
        if named is not None:
            found[kind] = load_embeddings(named)
        elif folder is not None and manifest is not None and (name := manifest.table_of(Inputs(kind.value))):
            found[kind] = read_table(folder, manifest, name)
        else:
            raise DataError(
                f"collect.build.pool: candidates by {kind} need embeddings of the {kind}s alone: give section embed "
                f"with inputs both, or name a file with collect.{kind}_embeddings"
            )
    return found


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

    def tables(self, settings: CollectSettings, made: Path | None = None) -> EmbeddingTables:
        """The embeddings that are used: those that the settings name, else `made`, else those beside the items.

        Args:
            settings: the section `collect`, which may name a file or a folder made by `sweep embed`.
            made: the folder that section `embed` gave, if there is that section.

        Raises:
            DataError: none is named and none lies beside the items, or one cannot be read.
        """
        named, beside = settings.embeddings, None if self.folder is None else self.folder / EMBEDDINGS_FILE
        folder = made if named is None else _made_folder(named)
        if folder is not None:
            return EmbeddingTables.of_folder(folder, settings)
        file = named or beside
        if file is None or (named is None and not file.is_file()):
            raise DataError(
                "collect.embeddings: name the file with one row per item (.npy, .pt or .pth), or give the section "
                "embed, which makes them"
            )
        return EmbeddingTables(load_embeddings(file), separate_tables(settings, None, None), None)


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
    return Source(open_items(settings), settings.folder)


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
