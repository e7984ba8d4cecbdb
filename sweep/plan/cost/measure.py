"""Speeds of the hardware at hand: some seconds of the run's own prompts through the real engine, and of its trainings.

Prompts are asked twice. The second time their images are known, so that the difference is what images cost. In a long
run most images are known, and in a sample hardly any are.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from selector.batches import TensorData
from selector.reports import Stage
from selector.settings import TrialSettings
from selector.threads import intra_op_threads
from selector.training.run import Training
from selector.validation import Evaluator
from sweep.embed.model import embedding_checkpoint, load_model
from sweep.embed.parts import PART, Part
from sweep.embed.worker import Embedder, EmbedTable
from sweep.errors import RunError
from sweep.plan.cost.records import Measured
from sweep.plan.cost.work import AnswerWork, EmbedWork, TrainWork, Works
from sweep.settings.embed import Inputs
from sweep.settings.vlm import ImageSettings
from sweep.space import SearchSpace
from sweep.vlm.engine.engine import Engine
from sweep.vlm.work import WorkItem

SECONDS = {"embed": 2.0, "collect": 4.0, "evaluate": 3.0, "train": 2.0}
MOST_QUERIES = 512
"""Of a measured epoch. A training of more queries takes as much longer."""


def measure(space: SearchSpace, works: Works) -> Measured:
    """Take about ten seconds of speeds, after the model is loaded.

    Raises:
        RunError: the space wants a GPU, and torch finds none here.
        ModelError: the model cannot be loaded.
    """
    rce, grpo = _epochs(space, works.training)
    embed = {} if works.embed is None else _embedding(works.embed)
    prompt: dict[str, float] = {}
    image: dict[str, float] = {}
    device, peak = "cpu", None
    if works.answers:
        vlm = works.answers[0].vlm
        device = _device(vlm.workers.gpus, "vlm.workers")
        with intra_op_threads(int(vlm.workers.cpus)):
            engine = Engine(vlm, device)
            for work in works.answers:
                prompt[work.phase], image[work.phase] = _answering(engine, work)
            engine.close()
        peak = _peak(device)
    name = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    return Measured(name, prompt, image, embed, rce, grpo, peak)


def _embedding(work: EmbedWork) -> dict[Inputs, float]:
    """Seconds of an image and of a question."""
    settings = work.settings
    device = _device(settings.workers.gpus, "embed.workers")
    found = dict.fromkeys((Inputs.IMAGE, Inputs.QUESTION), 0.0)
    with intra_op_threads(int(settings.workers.cpus)):
        checkpoint = embedding_checkpoint(settings, work.vlm)
        limits = ImageSettings() if work.vlm is None else work.vlm.images
        embedder = Embedder(load_model(settings, checkpoint, limits, device), settings.image_threads)
        for kind in settings.inputs.parts:
            places = range(0, len(work.table), max(1, len(work.table) // (PART * 8)))
            parts = [Part(kind, tuple(places[start : start + PART]), "") for start in range(0, len(places), PART)]
            table = EmbedTable(work.table, [Part(kind, parts[0].items[:1], ""), *parts])
            embedder.answer(table, [WorkItem(0)])  # the first call loads and compiles
            started, done = time.perf_counter(), 0
            for place, part in enumerate(parts, start=1):
                embedder.answer(table, [WorkItem(place)])
                done += len(part.items)
                if time.perf_counter() - started > SECONDS["embed"] / len(settings.inputs.parts):
                    break
            found[kind] = (time.perf_counter() - started) / done
    return found


def _answering(engine: Engine, work: AnswerWork) -> tuple[float, float]:
    """Seconds of a prompt whose images are known, and of an image."""
    parts = list(_parts(work))
    engine.answer(work.table, parts[0][:4], work.score)  # the first call loads and compiles
    started, cold, warm, prompts, images = time.perf_counter(), 0.0, 0.0, 0, 0
    for part in parts:
        before = engine.statistics.vision_misses
        first = _seconds(engine, work, part)
        again = _seconds(engine, work, part)
        images += engine.statistics.vision_misses - before
        cold, warm, prompts = cold + first, warm + again, prompts + len(part)
        if time.perf_counter() - started > SECONDS[work.phase]:
            break
    return warm / prompts, max(cold - warm, 0.0) / max(images, 1)


def _seconds(engine: Engine, work: AnswerWork, part: Sequence[WorkItem]) -> float:
    started = time.perf_counter()
    engine.answer(work.table, part, work.score)  # its answers are texts, so a GPU's work is done by then
    return time.perf_counter() - started


def _parts(work: AnswerWork) -> Iterator[tuple[WorkItem, ...]]:
    """Batches as a worker gets them."""
    size = work.vlm.workers.batch
    for start in range(0, len(work.sample), size):
        yield work.sample[start : start + size]


def _epochs(space: SearchSpace, work: TrainWork) -> tuple[float, float]:
    """Seconds of an epoch of RCE, and of one of GRPO, validation included. The last of some: the first ones warm up."""
    settings: TrialSettings = space.trial if space.parameters else space.resolve({}, 0)
    queries = min(work.queries, MOST_QUERIES)
    rounds = 3
    settings = settings.replace(
        train_queries=queries,
        rce=settings.rce.replace(epochs=rounds),
        grpo=settings.grpo.replace(epochs=rounds),
    )
    device = _device(space.resources.gpus, "resources")
    dataset = work.dataset
    if dataset.width != work.width:  # drawn narrower, for the counts alone
        drawn = np.random.default_rng(0).standard_normal((len(dataset.embeddings), work.width), dtype=np.float32)
        dataset = replace(dataset, embeddings=drawn)
    found: dict[Stage, float] = {}
    with intra_op_threads(int(space.resources.cpus)):
        started = time.perf_counter()
        training = Training(settings, dataset, space.validation, device)
        for report in training:
            found[report.stage] = report.seconds
            if time.perf_counter() - started > SECONDS["train"] and len(found) == 2:
                break
        started = time.perf_counter()
        Evaluator(TensorData(dataset, torch.device(device)), space.validation)(training.model)
        validation = time.perf_counter() - started
    grown = work.queries / queries
    return found[Stage.RCE] * grown + validation, found[Stage.GRPO] * grown + validation


def _device(gpus: float, section: str) -> str:
    if gpus and not torch.cuda.is_available():
        raise RunError(
            f"--measure: {section}.gpus is {gpus:g}, and torch finds no GPU on this machine; measure where there is "
            f"one, or try the CPU with --set {section}.gpus=0"
        )
    return "cuda" if gpus else "cpu"


def _peak(device: str) -> int:
    """Most memory so far: of the card, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
