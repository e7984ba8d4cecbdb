"""Images -> the features the language model reads, each image decoded and computed once.

Features are kept by image content up to a number of bytes. The least recently used go first. A cache belongs to one
engine, and so to one model and one pair of pixel limits. Decoding and resizing run in threads, ahead of the device.

An image's features depend on that image alone, so they may be computed in any batch (`tower`) and kept. (Their last
bits do depend on the batch: `Vision.one_by_one`.)

Letters:
    B  images of one size       P  patches
    H  rows of pixels           W  columns of pixels
    D  width of the language model
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from sweep.items.errors import ImageError
from sweep.settings.vlm import ImageSettings
from sweep.vlm.engine.counters import Counters
from sweep.vlm.engine.devices import Limit, to_device, watching_memory
from sweep.vlm.engine.encoding import Grid
from sweep.vlm.engine.images import load_pixels
from sweep.vlm.engine.loading import Loaded
from sweep.vlm.engine.pixels import Pixels
from sweep.vlm.engine.tower import vision_features
from sweep.vlm.work import VlmTable

ENTRY_BYTES = 900
"""Of an entry of the cache beside its numbers: key, tensor, grid. 883 with 20,000 entries of 512 bytes."""


class ImageMemoryError(Exception):
    """An image that the device's memory cannot take even alone. The argument is its key."""


class FeatureCache:
    """Features by image with their grids, least recently used out first.

    Args:
        bound: bytes; 0 keeps nothing. What Python needs around an entry counts, or many small images would take a
            multiple of it.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._entries: OrderedDict[str, tuple[Tensor, Grid]] = OrderedDict()
        self.bytes = 0
        self.evictions = 0

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Tensor | None:
        """Features that are there, now the most recently used."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def grid(self, key: str) -> Grid | None:
        """Rows and columns of tokens of an image that is there."""
        return self._entries[key][1] if key in self._entries else None

    def put(self, key: str, features: Tensor, grid: Grid) -> None:
        """Keep features of their own storage. What does not fit beside others displaces the oldest."""
        if _size(features) > self._bound:
            return
        self._entries[key] = (features, grid)
        self.bytes += _size(features)
        while self.bytes > self._bound:
            self.bytes -= _size(self._entries.popitem(last=False)[1][0])
            self.evictions += 1

    def clear(self) -> None:
        """Forget all, when memory is needed elsewhere."""
        self._entries.clear()
        self.bytes = 0


def _size(features: Tensor) -> int:
    return ENTRY_BYTES + features.nbytes


class PixelStore:
    """Decodes in threads. Gives each image's pixels until they are dropped."""

    def __init__(self, loaded: Loaded, limits: ImageSettings, threads: int, counters: Counters) -> None:
        self._patching, self._limits, self._counters = loaded.patching, limits, counters
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="images")
        self._pixels: dict[str, Future[Pixels]] = {}
        self._sources: dict[str, Callable[[], bytes]] = {}

    def hashes(self, table: VlmTable, items: Sequence[int]) -> dict[int, str | ImageError]:
        """Content hash of each item's image, or why there is none."""

        def one(item: int) -> str | ImageError:
            try:
                return table.image_hash(item)
            except ImageError as error:
                return error

        return dict(zip(items, self._pool.map(one, items), strict=True))

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def expect(self, key: str, read: Callable[[], bytes], now: bool) -> None:
        """Where to read an image; `now` begins to decode it, unless that was begun and not dropped since."""
        self._sources[key] = read
        if now and key not in self._pixels:
            self._pixels[key] = self._pool.submit(lambda: load_pixels(read(), self._limits, self._patching))
            self._counters.images_decoded += 1

    def get(self, key: str) -> Pixels:
        """Pixels of an expected image, decoded if they are not there.

        Raises:
            UnfitImageError, ImageError: what is wrong with it.
        """
        self.expect(key, self._sources[key], now=True)
        return self._pixels[key].result()

    def drop(self, keys: Iterable[str]) -> None:
        """Free pixels."""
        for key in keys:
            self._pixels.pop(key, None)

    def forget(self, key: str) -> None:
        """Free pixels and source of an image that will not be asked for."""
        self._pixels.pop(key, None)
        self._sources.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._pixels.clear()
        self._sources.clear()


class Vision:
    """Features of images, from the cache or computed in batches.

    Attributes:
        patches: most patches of one forward pass of the vision tower. Shrinks when memory runs out.
        one_by_one: compute every image alone. The last bits of features depend on what is computed beside them. Alone
            they do not depend on the order of work.
    """

    def __init__(
        self, loaded: Loaded, store: PixelStore, cache: FeatureCache, patches: int, counters: Counters
    ) -> None:
        self._loaded, self._store, self._cache, self._counters = loaded, store, cache, counters
        self.patches = Limit("vision patches", patches)
        self._grids: dict[str, Grid] = {}
        self.one_by_one = False

    def _slot(self, key: str) -> str:
        """Where the cache has features that were computed in the way that is asked for now."""
        return f"{key}/alone" if self.one_by_one else key

    def grid(self, key: str) -> Grid:
        """Rows and columns of tokens of an expected image. Raises what `PixelStore.get` raises."""
        if key not in self._grids:
            known = self._cache.grid(self._slot(key))
            if known is None:
                rows, columns = self._loaded.patching.grid(self._store.get(key))
                merge = self._loaded.patching.merge
                known = rows // merge, columns // merge
            self._grids[key] = known
        return self._grids[key]

    def knows(self, key: str) -> bool:
        """Whether an image need not be decoded now."""
        return self._slot(key) in self._cache

    def forget(self, keys: Iterable[str]) -> None:
        """Free pixels, grids and sources: these images will not be asked for. Features stay in the cache."""
        for key in keys:
            self._store.forget(key)
            self._grids.pop(key, None)

    def clear(self) -> None:
        """Forget all but the cache."""
        self._store.clear()
        self._grids.clear()

    def features(self, keys: Iterable[str]) -> Mapping[str, Tensor]:
        """Features [tokens, D] of images whose grids are known.

        Raises:
            ImageMemoryError: one of them does not fit into the device's memory even alone.
        """
        found: dict[str, Tensor] = {}
        missing: list[str] = []
        for key in dict.fromkeys(keys):
            features = self._cache.get(self._slot(key))
            if features is None:
                missing.append(key)
            else:
                found[key] = features
        self._counters.vision_hits += len(found)
        self._counters.vision_misses += len(missing)
        missing.sort(key=self.grid)  # equal sizes side by side
        while missing:
            batch = missing[: self._batch(missing)]
            with watching_memory(self._loaded.device) as ran_out:
                computed = self._compute(batch)
            if ran_out:
                if len(batch) > 1:
                    self.patches.halve(sum(map(self._patches_of, batch)))
                elif not self.release():
                    raise ImageMemoryError(batch[0])
                continue
            del missing[: len(batch)]
            found.update(computed)
            self._store.drop(batch)
            for key, features in computed.items():
                self._cache.put(self._slot(key), features, self.grid(key))
        return found

    def release(self) -> bool:
        """Forget all cached features, so that their memory is free. Returns whether there were any."""
        there = self._cache.bytes > 0
        self._cache.clear()
        return there

    def _patches_of(self, key: str) -> int:
        rows, columns = self._grids[key]
        return rows * columns * self._loaded.patching.merge**2

    def _batch(self, keys: Sequence[str]) -> int:
        if self.one_by_one:
            return 1
        total = 0
        for number, key in enumerate(keys):
            total += self._patches_of(key)
            if number and total > self.patches.value:
                return number
        return len(keys)

    def _compute(self, keys: Sequence[str]) -> dict[str, Tensor]:
        patching, device = self._loaded.patching, self._loaded.device
        parts: list[Tensor] = []
        pixels = [self._store.get(key) for key in keys]
        at = 0
        while at < len(pixels):  # neighbours of one size (the caller sorts by it) are cut into patches together
            end = next((n for n in range(at, len(pixels)) if pixels[n].shape != pixels[at].shape), len(pixels))
            parts.append(patching.patches(to_device(np.stack(pixels[at:end]), device)))
            at = end
        grids = [(1, *patching.grid(image)) for image in pixels]
        features = vision_features(self._loaded, torch.cat(parts), torch.tensor(grids))
        # Each part gets storage of its own: a view would keep the whole batch alive in the cache.
        sizes = [part.shape[0] for part in features]
        together = torch.cat(list(features))
        return {key: part.clone() for key, part in zip(keys, torch.split(together, sizes), strict=True)}
