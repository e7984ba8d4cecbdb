"""Embedding as the first stage of a run: what is planned, what follows from it, and what the run remembers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from selector.data.dataset import Split
from selector.errors import DataError
from sweep.collect.digest import embeddings_hash
from sweep.driver.create import NewRun, create_run
from sweep.driver.embedding import embed_plan
from sweep.driver.session import open_session
from sweep.embed.model import load_model
from sweep.embed.service import Embedding, embed_items
from sweep.embed.store import is_embedded, read_manifest
from sweep.embed.worker import Embedder, EmbedTable
from sweep.errors import SpaceError
from sweep.execution.ray.options import RayOptions
from sweep.plan.collection import plan_embedding
from sweep.plan.cost.estimate import estimate
from sweep.plan.cost.work import Works
from sweep.plan.machine import Machine
from sweep.plan.make import make_plan
from sweep.plan.plan import CollectionPlan, EmbeddingPlan, Plan
from sweep.plan.requests import request_of_run, request_of_space
from sweep.report.documents import plan_document
from sweep.report.plan import describe_embedding
from sweep.results.verify import verify
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.runs.record import read_record
from sweep.settings.collect import PoolBy
from sweep.settings.vlm import ImageSettings
from sweep.storage.local import stored_at
from sweep.terminal.console import quiet
from sweep.vlm.work import WorkItem
from tests.sweep.embed.conftest import IMAGES
from tests.sweep.finished import collected, trained

SPACE = """
name: walk
items: {{questions: {folder}/questions.json, annotations: {folder}/annotations.json, images: {folder}/images}}
vlm:
  model: {{path: demo}}
  images: {{min_pixels: 784, max_pixels: 12544}}
embed:
  model: {{path: {model}}}
  failure_limit: 0.1
collect:
  build:
    count: 60
    pool: {{size: 12, shares: {{image: 0.5, question: 0.25, random: 0.25}}}}
    split: {{val: 0.25, test: 0.2}}
  beams: {{similarity: 1, similarity_sampled: 2, random: 2}}
trial:
  model: {{hidden: 16, heads: 4}}
  rce: {{epochs: 1}}
  grpo: {{epochs: 1}}
validation: {{metric: rce}}
budget: {{trials: 1}}
"""
QUIET = Console(file=io.StringIO())


@pytest.fixture
def space(tmp_path: Path, official: Path, checkpoints: dict[str, Path]) -> Path:
    file = tmp_path / "walk.yaml"
    file.write_text(SPACE.format(folder=official, model=checkpoints["clip"]))
    return file


def planned(space: Path, *overrides: str) -> Plan | CollectionPlan | EmbeddingPlan:
    return make_plan(request_of_space(str(space), SharedPaths.beside(stored_at(space.parent)), overrides=overrides))


def embedded_here(plan: EmbeddingPlan) -> None:
    """As `embed_plan`, in this process."""
    work = Embedding(plan.settings, plan.space.vlm, plan.items, plan.request.shared.embedding_parts)
    embedder = Embedder(load_model(plan.settings, plan.settings.model, ImageSettings(), "cpu"), 1)

    def run(parts: Sequence) -> object:  # type: ignore[type-arg]
        for place, part in enumerate(parts):
            yield part, embedder.answer(EmbedTable(plan.items, parts), [WorkItem(place)])[0]

    embed_items(work, plan.folder, QUIET, run)  # type: ignore[arg-type]


def test_a_run_is_planned_with_embeddings_first_and_then_with_what_they_give(space: Path) -> None:
    first = planned(space)
    assert isinstance(first, EmbeddingPlan) and first.width == 24
    rows = dict(describe_embedding(first))
    assert rows["embedded"] == "image and question by mean, width 24"
    assert rows["beams to measure"] == "up to 300 of 2 picks, 5 per query"
    assert plan_document(first, estimate(first, Works.of(first), Machine.here(), None), [])["embed"]["queries"] == {
        name: int((first.splits == split).sum()) for name, split in (("train", 0), ("val", 1), ("test", 2))
    }
    embedded_here(first)
    plan = planned(space)
    assert isinstance(plan, CollectionPlan) and plan.embedded == read_manifest(first.folder.local())
    assert plan.embedded.fingerprint == embeddings_hash(plan.beams.embeddings)
    used = np.concatenate([plan.beams.queries.query_items, plan.beams.queries.pool_items])
    assert not {2, 3, 4, 5} & set(used.tolist())  # they have no image to show
    assert plan.beams.counts["items_without_embedding"] == 4
    other = planned(space, "embed.image_weight=0.7")
    assert isinstance(other, EmbeddingPlan) and other.folder != first.folder
    embedded_here(other)
    plans = [plan, planned(space, "embed.image_weight=0.7"), planned(space, "collect.build.pool.shares=null")]
    assert len({one.folder.name for one in plans if isinstance(one, CollectionPlan)}) == 3


def test_named_embeddings_win_and_pools_say_what_they_lack(space: Path) -> None:
    first = planned(space)
    assert isinstance(first, EmbeddingPlan)
    embedded_here(first)
    folder = first.folder.local()
    named = planned(space, f"collect.embeddings={folder}", "embed.image_weight=0.3")
    assert isinstance(named, CollectionPlan) and named.embedded == read_manifest(folder)
    by_table = planned(space, f"collect.embeddings={folder / 'embeddings.npy'}")
    assert isinstance(by_table, CollectionPlan) and by_table.folder == named.folder
    tables = {name: np.load(folder / f"{name}.npy") for name in ("embeddings", "image", "question")}
    for name, table in tables.items():
        np.save(space.parent / f"{name}.npy", np.where(table.any(axis=1, keepdims=True), table, 1))
    file = f"collect.embeddings={space.parent / 'embeddings.npy'}"
    with pytest.raises(DataError, match=r"candidates by image need embeddings of the images alone"):
        planned(space, file)
    separate = (
        f"collect.image_embeddings={folder / 'image.npy'}",
        f"collect.question_embeddings={folder}/question.npy",
    )
    alone = planned(space, file, *separate)
    assert isinstance(alone, CollectionPlan) and alone.embedded is None
    counts = alone.settings.build.pool.counts()
    assert counts == {PoolBy.IMAGE: 6, PoolBy.QUESTION: 3}


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("embed.model.path=vlm", "reads no text"),
        ("embed.inputs=image", None),
        ("items=null", "needs items"),
        ("embed.combine=sum", "mean"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(space: Path, override: str, reason: str | None) -> None:
    if reason is None:
        assert isinstance(planned(space, override), EmbeddingPlan)
        return
    with pytest.raises(SpaceError, match=reason):
        planned(space, override)


def test_a_run_remembers_its_embeddings_and_verify_checks_them(space: Path) -> None:
    first = planned(space)
    assert isinstance(first, EmbeddingPlan)
    paths = create_run(first, NewRun(stored_at(space.parent), "mine"))
    embedded_here(first)
    collection = planned(space)
    assert isinstance(collection, CollectionPlan)
    plan = collected(collection)
    with open_session(paths, RayOptions(), quiet) as session:
        session.name_data(plan)
        trained(plan, session)
    record = read_record(paths)
    assert record.embed is not None and record.data_fingerprint == plan.summary.fingerprint
    assert record.embed["hashes"]["embeddings"] == embeddings_hash(plan.dataset.embeddings)
    assert len(plan.dataset.indices(Split.TEST)) > 0

    def again(paths: RunPaths) -> Plan:
        found = make_plan(request_of_run(paths))
        assert isinstance(found, Plan)
        return found

    assert verify(paths, again).faults == []
    text = paths.run_file.read_text().replace(record.embed["hashes"]["embeddings"], "0" * 64)
    paths.run_file.write_text(text)
    assert [fault.where for fault in verify(paths, again).faults] == ["embed.hashes.embeddings"]


def test_the_pool_gives_the_same_bytes(space: Path, ray_session: None, tmp_path: Path) -> None:
    """Two workers on Ray against one process."""
    first = planned(space, "embed.workers.cpus=0.5", "embed.workers.count=2")
    assert isinstance(first, EmbeddingPlan)
    embed_plan(first, "test", QUIET)
    found = read_manifest(first.folder.local())
    assert found.rows == 2 * IMAGES and is_embedded(first.folder.local())
    here = tmp_path / "here"
    here.mkdir()
    (here / "walk.yaml").write_text(space.read_text())
    alone = planned(here / "walk.yaml")
    assert isinstance(alone, EmbeddingPlan)
    embedded_here(alone)
    assert read_manifest(alone.folder.local()) == found


def test_the_command_alone_needs_no_collection(space: Path) -> None:
    request = request_of_space(str(space), SharedPaths.beside(stored_at(space.parent)), overrides=("collect=null",))
    assert plan_embedding(request).most_beams == 0
    request = request_of_space(str(space), SharedPaths.beside(stored_at(space.parent)), overrides=("embed=null",))
    with pytest.raises(SpaceError, match="no section embed"):
        plan_embedding(request)
