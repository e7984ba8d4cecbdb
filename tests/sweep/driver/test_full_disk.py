"""A full disk: one clear error, nothing half-written is taken for whole; with room, all goes on as if it never was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from selector.data.native import read_native, write_native
from selector.errors import UserError
from selector.settings import TrialSettings
from sweep.driver.create import NewRun, create_run
from sweep.evaluation.answer_table import AnswerRecord, write_answers
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from sweep.storage.outage import describe_os_error, is_outage
from sweep.trials.checkpoints import read_checkpoint, write_checkpoint
from sweep.trials.messages import EpochResult
from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.answers.writer import AnswerWriter
from sweep.vlm.work import Answer, WorkItem
from tests.sweep.commands import (
    ALONE,
    Command,
    Ran,
    curves,
    epochs_done,
    finish,
    start,
    study_of,
    wait_for,
    write_space,
)
from tests.sweep.disks import SmallDisk, small_disk
from tests.sweep.plans import plan_of_space
from tests.sweep.spaces import context, numbers, small_dataset, trial

SETTINGS = TrialSettings.model_validate(
    {
        "model": {"hidden": 16, "heads": 2, "dropout": 0.2, "decoder": "gate"},
        "rce": {"epochs": 1, "lr": 1e-3},
        "grpo": {"epochs": 2, "lr": 1e-3},
    }
)
RECORD = AnswerRecord("row", "test", 0, 0, 1, 0, (1,), "a cat " * 2000, 1.0, None, None)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 4) as mounted:
        yield mounted


def as_far_as_it_goes(results: Iterator[EpochResult]) -> list[EpochResult]:
    found = []
    try:
        found.extend(results)
    except OSError as error:
        assert is_outage(error) and error.errno == errno.ENOSPC, error
    return found


@pytest.mark.timeout(120)
def test_a_trial_continues_to_the_bit_wherever_the_disk_was_full(disk: SmallDisk, tmp_path: Path) -> None:
    """With room for 0, 2, 4, ... pages, so that every one of its writes is the one that fails."""
    dataset = small_dataset()
    shared = context(tmp_path / "roomy", dataset)
    whole = numbers(list(trial(shared, dataset, settings=SETTINGS)))
    stopped = 0
    for pages in range(0, 200, 2):
        run = disk.root / f"run-{pages}"
        shared = context(run, dataset)
        disk.fill(pages)
        before = as_far_as_it_goes(iter(trial(shared, dataset, settings=SETTINGS)))
        disk.free()
        assert numbers(before) == whole[: len(before)]
        after = numbers(list(trial(shared, dataset, settings=SETTINGS)))
        assert after == whole[len(whole) - len(after) :] and len(before) + len(after) >= len(whole), pages
        paths = RunPaths.at(run).trial(0)
        assert len(paths.history_file.read_text().splitlines()) == len(whole)
        for folder in (*paths.best_folder.glob("step-*"), *paths.resume_folder.glob("step-*")):
            read_checkpoint(folder)
        if len(before) == len(whole):
            break
        stopped += 1
        removed(run)
    assert 5 <= stopped < 99, "the disk was full at several places, and large enough in the end"


def removed(run: Path) -> None:
    for file in sorted(run.rglob("*"), reverse=True):
        file.unlink() if not file.is_dir() else file.rmdir()
    run.rmdir()


def answers(folder: Path) -> None:
    store = AnswerStore(stored_at(folder))
    with AnswerWriter(store, "model") as writer:
        writer.add(WorkItem(1, (2,)), Wanted("0" * 64), Answer("a cat", None, 7))


WRITERS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "ranking": (lambda file: stored_at(file).write_json({"a": "b" * 9000}), Path.read_bytes),
    "table of answers": (lambda file: write_answers(stored_at(file), [RECORD]), Path.read_bytes),
    "checkpoint": (
        lambda folder: write_checkpoint(stored_at(folder), {"a": torch.zeros(5000)}, {"kind": "some"}),
        lambda folder: read_checkpoint(stored_at(folder)),
    ),
    "collected data": (lambda folder: write_native(small_dataset(), folder, "x"), read_native),
    "answers": (answers, lambda folder: AnswerStore(stored_at(folder)).lookup({WorkItem(1, (2,)): Wanted("0" * 64)})),
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_writer_names_its_file_and_works_when_there_is_room(name: str, disk: SmallDisk) -> None:
    write, read = WRITERS[name]
    target = disk.root / "target"
    disk.fill()
    with pytest.raises((OSError, UserError)) as failed:
        write(target)
    message = describe_os_error(failed.value) if isinstance(failed.value, OSError) else str(failed.value)
    assert "No space left on device" in message and "target" in message and "\n" not in message
    left = [path for path in disk.root.rglob("*") if path.is_file() and path.name != "ballast"]
    assert not left, "nothing half-written stays to fill the disk"
    disk.free()
    write(target)
    assert read(target)


def test_no_run_is_begun_on_a_full_disk(disk: SmallDisk, tmp_path: Path) -> None:
    plan = plan_of_space(write_space(tmp_path))
    disk.fill()
    with pytest.raises((OSError, UserError), match="No space left"):
        create_run(plan, NewRun(stored_at(disk.root / "runs"), "mine"))
    assert not (disk.root / "runs" / "mine").exists(), "the name is free for the next attempt"
    disk.free()
    create_run(plan, NewRun(stored_at(disk.root / "runs"), "mine"))


def test_what_the_log_cannot_hold_does_not_come_on_the_screen(disk: SmallDisk) -> None:
    """In a process of its own: pytest's streams are not what a shell gives."""
    program = (
        "import sys; from pathlib import Path; from sweep.terminal.console import quiet\n"
        "from sweep.storage.local import stored_at\n"
        "from tests.sweep.disks import SmallDisk\n"
        f"with quiet(stored_at(Path({str(disk.root)!r}) / 'run.log')) as console:\n"
        f"    SmallDisk(Path({str(disk.root)!r})).fill()\n"
        "    print('for the log')\n"
        "    console.print('for the screen')\n"
        "print('afterwards')\n"
    )
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=buffered)
    assert (done.stdout, done.stderr) == ("for the screen\nafterwards\n", "")


@pytest.mark.slow
@pytest.mark.long  # a trial, each writer, the begin of a run and the log on a full disk are above
def test_a_run_on_a_full_disk_resumes_to_the_undisturbed_run(
    undisturbed: Ran, tmp_path: Path, command: Command
) -> None:
    """Real processes: the disk fills up under a worker; one line, exit code 2; with room again, the same numbers."""
    with small_disk(tmp_path / "small", 8) as disk:
        process = start(disk.root, "run", str(write_space(disk.root, **ALONE)), logs=tmp_path)
        run = disk.root / "runs" / "small-1"
        wait_for(lambda: epochs_done(run) >= 7)
        disk.fill()
        begun = time.monotonic()
        output = finish(process)
        assert process.returncode == 2 and time.monotonic() - begun < 60
        (line,) = [line for line in output.splitlines() if "error" in line.lower()]
        assert line.startswith("error: run small-1 stopped: ") and "python -m sweep resume runs/small-1" in line
        assert "No space left" in line or "disk is full" in line
        assert "Traceback" not in output
        code, out, error = command("resume", "--runs", str(disk.root / "runs"))
        assert code == 2 and "Traceback" not in out + error, "the disk is full still"
        (line,) = error.strip().splitlines()
        assert line.startswith("error: ") and ("No space left" in line or "disk is full" in line)
        disk.free()
        code, _, error = command("resume", "--runs", str(disk.root / "runs"))
        assert code == 0, error
        assert curves(undisturbed.study) == curves(study_of(run))
        code, out, _ = command("verify", "--runs", str(disk.root / "runs"))
        assert code == 0 and out.count("ok") == len(list(run.glob("trials/*/best/step-*")))
