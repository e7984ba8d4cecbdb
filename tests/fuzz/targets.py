"""Readers as functions of one file's bytes: what guided fuzzing calls, and what repeats a finding. Needs no atheris."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from selector.batches import TensorData
from selector.data.native import BEAMS, EMBEDDINGS, MANIFEST, QUERIES
from selector.model import CONFIG_FILE, WEIGHTS_FILE, PointerSelector
from selector.tensors import read_tensors
from selector.training import GrpoStage
from selector.validation import Evaluator
from sweep.report.evaluations import asked_lines
from sweep.results.evaluations import DECLARED
from sweep.results.ledger import Look, begin_look, end_look
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.settings.evaluation import SplitName
from sweep.storage.hashes import file_hash
from sweep.storage.local import stored_at
from sweep.trials.checkpoints import MANIFEST_FILE
from sweep.trials.finalists import Finalist, ended
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.checkpoint import check_checkpoint
from sweep.vlm.work import Failure
from tests.fuzz.builders import (
    ASKED,
    FULL,
    SHIPPED,
    Good,
    make_answers,
    make_evaluation,
    make_forms,
    make_run,
    make_selector,
)
from tests.fuzz.harness import held
from tests.fuzz.mutations import Alter, altered_json, altered_parquet, altered_safetensors, altered_yaml, altered_zip
from tests.fuzz.mutations import mutated_bytes as any_bytes
from tests.fuzz.readers import compared, continued, exported, opened, opened_items, shown, used_space, warmed_up
from tests.selector.data.builders import embeddings, older_data, rl_data
from tests.sweep.items.builders import annotations, images, questions
from tests.sweep.spaces import SETTINGS, trial


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        seeds: good files, to begin with.
        load: what a file's bytes become; None where they are refused with a typed error. Raises for whatever else.
        alter: changes a file within its form. Raises ValueError where it has not that form.
    """

    seeds: tuple[bytes, ...]
    load: Callable[[bytes], object | None]
    alter: Alter


def _reads(file: Path, read: Callable[[], object]) -> Callable[[bytes], object | None]:
    """Of a loader that reads this file."""

    def load(content: bytes) -> object | None:
        file.write_bytes(content)
        return held(read)

    return load


def _json(*values: Any) -> tuple[bytes, ...]:
    return tuple(json.dumps(value).encode() for value in values)


# Spaces and data ----------------------------------------------------------------------------------------------------


def space(_folder: Path) -> Target:
    small = {"name": "small", "parameters": {"grpo.lr": FULL["parameters"]["grpo.lr"]}}
    full = (FULL | {"sampler": {"type": kind}} for kind in ("tpe", "qmc", "cmaes", "random", "gp"))
    grid = small | {"parameters": {"reward.mode": FULL["parameters"]["reward.mode"]}, "sampler": {"type": "grid"}}
    texts = (yaml.safe_dump(small), yaml.safe_dump(grid), *map(yaml.safe_dump, full), *SHIPPED.values())
    return Target(
        tuple(text.encode() for text in texts),
        lambda content: held(lambda: used_space(content.decode("utf-8", errors="replace"))),
        altered_yaml,
    )


def rl_json(folder: Path) -> Target:
    make_forms(folder)
    file = folder / "rl.json"
    read = _reads(file, lambda: opened(file, embeddings=folder / "table.npy"))
    return Target(_json(rl_data(), older_data()), read, altered_json)


def _native(folder: Path, name: str, alter: Alter) -> Target:
    native = make_forms(folder) / "native"
    seed = (native / name).read_bytes()

    return Target((seed,), _reads(native / name, lambda: opened(native)), alter)


def native_manifest(folder: Path) -> Target:
    return _native(folder, MANIFEST, altered_json)


def native_queries(folder: Path) -> Target:
    return _native(folder, QUERIES, altered_parquet)


def native_beams(folder: Path) -> Target:
    return _native(folder, BEAMS, altered_parquet)


def native_embeddings(folder: Path) -> Target:
    return _native(folder, EMBEDDINGS, altered_parquet)


def npy(folder: Path) -> Target:
    table = embeddings().numpy()
    seeds = []
    for array in (table, table.astype(np.float64), np.asfortranarray(table), table.astype(np.float16)):
        np.save(folder / "seed.npy", array)
        seeds.append((folder / "seed.npy").read_bytes())
    return Target(tuple(seeds), _embeddings(folder, "table.npy"), any_bytes)


def pth(folder: Path) -> Target:
    seeds = []
    for tensor in (embeddings(), embeddings().half(), embeddings().t().contiguous().t()):
        target = io.BytesIO()
        torch.save(tensor, target)
        seeds.append(target.getvalue())
    torch.save(embeddings(), target := io.BytesIO(), _use_new_zipfile_serialization=False)
    return Target((*seeds, target.getvalue()), _embeddings(folder, "table.pth"), altered_zip)


def _embeddings(folder: Path, name: str) -> Callable[[bytes], object | None]:
    data = make_forms(folder) / "rl" / "rl_data.json"
    return _reads(folder / name, lambda: opened(data, embeddings=folder / name))


# Items --------------------------------------------------------------------------------------------------


def items_json(folder: Path) -> Target:
    """Questions and annotations in one file, which holds both lists."""
    file = folder / "both.json"
    pictures = images(folder / "images")
    read = _reads(file, lambda: opened_items(questions=[file], annotations=[file], images=[pictures]))
    return Target(_json(questions() | annotations()), read, altered_json)


def items_parquet(folder: Path) -> Target:
    """Items in native form; of an opened table, every image is read or refused."""
    file = make_forms(folder) / "items" / "items.parquet"

    def load(content: bytes) -> object | None:
        file.write_bytes(content)
        table = held(lambda: opened_items(path=file))
        for item in range(len(table) if table is not None else 0):
            held(lambda item=item: table.image_bytes(item))
        return table

    return Target((file.read_bytes(),), load, altered_parquet)


def answers(folder: Path) -> Target:
    """A part beside a good one, whose answers are found whatever stands in the other; then both are merged."""
    good = make_answers(folder / "good")
    seed, place = good.read_bytes(), folder / "store"

    def load(content: bytes) -> object | None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / good.name).write_bytes(seed)
        (place / "part-1.parquet").write_bytes(content)
        store = AnswerStore(stored_at(place))
        for _ in range(2):
            found = held(lambda: store.lookup(ASKED))
            assert found is not None and set(found) == set(ASKED)
            assert all(isinstance(one, Failure) or isinstance(one.text, str) for one in found.values())
            assert held(lambda: store.compact(many=1)) is not None
        return None if store.skipped else found

    return Target((seed,), load, altered_parquet)


def model_config(folder: Path) -> Target:
    """The configuration of a vision-language model; its weights are not read."""
    file = folder / "config.json"
    seed = json.dumps({"model_type": "qwen2_5_vl", "hidden_size": 8}).encode()
    save_file({"model.a": torch.zeros(1)}, folder / "model.safetensors")

    def read() -> object:
        check_checkpoint(folder)
        return True

    return Target((seed,), _reads(file, read), altered_json)


# Runs ---------------------------------------------------------------------------------------------------------------


def run_record(folder: Path) -> Target:
    paths = make_run(folder)
    seed = paths.run_file.read_bytes()
    return Target((seed,), _reads(paths.run_file.local(), lambda: read_record(paths)), altered_json)


def epoch_manifest(folder: Path) -> Target:
    good = Good(folder)
    file, digest = good.epoch / MANIFEST_FILE, good.warm_up.name

    def read() -> object:
        held(lambda: compared(good.paths, digest))
        return exported(good.epoch)

    return Target((file.read_bytes(),), _reads(file, read), altered_json)


def selector_config(folder: Path) -> Target:
    stored = make_selector(folder)
    file = stored / CONFIG_FILE
    return Target((file.read_bytes(),), _reads(file, lambda: PointerSelector.from_pretrained(stored)), altered_json)


def safetensors(folder: Path) -> Target:
    """Every tensor that comes out lies within the file."""
    stored = make_selector(folder)
    file = stored / WEIGHTS_FILE

    def read() -> object:
        found = read_tensors(file)
        assert sum(one.numel() * one.element_size() for one in found.values()) <= file.stat().st_size
        return PointerSelector.from_pretrained(stored)

    return Target((file.read_bytes(),), _reads(file, read), altered_safetensors)


def warm_up_manifest(folder: Path) -> Target:
    good = Good(folder)
    file = good.warm_up / MANIFEST_FILE

    def read() -> object:
        rows = compared(good.paths, good.warm_up.name)
        held(lambda: warmed_up(good))
        return rows if len(rows) == 2 else None

    return Target((file.read_bytes(),), _reads(file, read), altered_json)


def _resuming(folder: Path) -> tuple[Good, Callable[[], object]]:
    good = Good(folder)
    data = TensorData(good.dataset, torch.device("cpu"))
    weights = read_tensors(good.warm_up / WEIGHTS_FILE)
    stage = GrpoStage(SETTINGS, data, Evaluator(data, good.context.validation), weights)
    interrupted = trial(good.context, good.dataset)
    events = good.paths.trial(0).events_folder.local()

    def read() -> object:
        shutil.rmtree(events, ignore_errors=True)
        return continued(interrupted, stage)

    return good, read


def resume_manifest(folder: Path) -> Target:
    good, read = _resuming(folder)
    file = good.state / MANIFEST_FILE
    return Target((file.read_bytes(),), _reads(file, read), altered_json)


def resume_tensors(folder: Path) -> Target:
    """The weights with a manifest that names their hash, as if somebody had meant them."""
    good, read = _resuming(folder)
    file, manifest_file = good.state / WEIGHTS_FILE, good.state / MANIFEST_FILE
    manifest = json.loads(manifest_file.read_bytes())

    def load(content: bytes) -> object | None:
        file.write_bytes(content)
        manifest_file.write_text(json.dumps({**manifest, "sha256": file_hash(file)}))
        return held(read)

    return Target((file.read_bytes(),), load, altered_safetensors)


def evaluation(folder: Path) -> Target:
    paths = make_run(folder)
    file = paths.evaluation(DECLARED).file
    make_evaluation().write(file)
    return Target((file.read_bytes(),), _reads(file.local(), lambda: shown(paths)), altered_json)


def ledger(folder: Path) -> Target:
    """The looks at held-out questions, counted and put into sentences."""
    paths = make_run(folder)
    look = Look(
        command="evaluate", evaluation=DECLARED, split=SplitName.TEST, split_digest="s", settings_digest="a",
        questions=3, rows={"similarity": None},
    )  # fmt: skip
    begin_look(paths, look)
    end_look(paths, look)
    file = paths.ledger_file.local()
    return Target((file.read_bytes(),), _reads(file, lambda: asked_lines(paths, DECLARED)), any_bytes)


def finalist_result(folder: Path) -> Target:
    """A finalist whose result cannot be read is trained again: there is no error to tell."""
    paths, one = RunPaths.at(folder), Finalist(0, SETTINGS)
    file = paths.finalist(one.trial, one.seed).result_file.local()
    file.parent.mkdir(parents=True)
    seeds = _json(
        {"best_step": 3, "val_loss": 0.5, "failure": None}, {"best_step": None, "val_loss": None, "failure": "x"}
    )
    return Target(seeds, _reads(file, lambda: ended(paths, one)), altered_json)


TARGETS: dict[str, Callable[[Path], Target]] = {
    make.__name__.replace("_", "-"): make
    for make in (
        space,
        rl_json,
        native_manifest,
        native_queries,
        native_beams,
        native_embeddings,
        npy,
        pth,
        items_json,
        items_parquet,
        run_record,
        epoch_manifest,
        selector_config,
        safetensors,
        warm_up_manifest,
        resume_manifest,
        resume_tensors,
        evaluation,
        ledger,
        finalist_result,
        answers,
        model_config,
    )
}
"""Makers of targets by name; each works in a folder of its own."""
