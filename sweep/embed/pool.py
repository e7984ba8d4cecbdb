"""Parts on the pool of Ray actors, whose invariants hold here too (`sweep.vlm.pool`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from rich.console import Console

from sweep.embed.identity import device_of, limits_of
from sweep.embed.model import embedding_checkpoint, load_model
from sweep.embed.parts import PART, Part, PartVectors
from sweep.embed.service import Embedding, PartRun, inputs_of
from sweep.embed.worker import Embedder, EmbedTable
from sweep.settings.embed import EmbedSettings
from sweep.settings.vlm import ImageSettings, ModelSettings
from sweep.vlm.keys import model_identity, pinned
from sweep.vlm.pool.pool import Pool
from sweep.vlm.pool.progress import PoolProgress, ProgressLine
from sweep.vlm.work import Failure, WorkItem


def on_pool(
    work: Embedding,
    name: str,
    console: Console,
    watch: Callable[[PoolProgress], None],
    left_out: Collection[str] = (),
) -> PartRun:
    """Computes parts on the Ray that is connected.

    Args:
        work: what is to be embedded.
        name: of the run, for Ray's dashboard.
        console: shows progress.
        watch: told of progress, too.
        left_out: ids of nodes that are of no use.
    """

    def run(parts: Sequence[Part]) -> Generator[tuple[Part, PartVectors | Failure], None, None]:
        inputs = inputs_of(parts)

        def show(progress: PoolProgress) -> None:
            shown = _in_inputs(progress, inputs)
            watch(shown)
            line(shown)

        def say(text: str) -> None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

        checkpoint = embedding_checkpoint(work.settings, work.vlm)
        checkpoint = pinned(checkpoint, model_identity(checkpoint))
        factory = partial(_embedder, work.settings, checkpoint, limits_of(work.vlm), device_of(work.settings))
        table = EmbedTable(work.items, parts)
        with (
            ProgressLine(console, "embedding") as line,
            Pool(factory, table, work.settings.workers, name, show, say=say, left_out=left_out) as pool,
            closing(pool.run([WorkItem(place) for place in range(len(parts))])) as results,
        ):
            for item, result in results:
                yield parts[item.query], result

    return run


def _in_inputs(progress: PoolProgress, inputs: int) -> PoolProgress:
    """Progress counted in images and questions instead of parts."""
    return replace(progress, done=min(progress.done * PART, inputs), total=inputs, rate=progress.rate * PART)


def _embedder(settings: EmbedSettings, checkpoint: ModelSettings, limits: ImageSettings, device: str) -> Embedder:
    """Runs in a worker's process."""
    return Embedder(load_model(settings, checkpoint, limits, device), settings.image_threads)
