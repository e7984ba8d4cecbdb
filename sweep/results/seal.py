"""`seal.json`: the hashes of all that is final in a run, written by the driver when the run has ended.

A seal covers every file of the run's folder except those of `UNSEALED`. What the manifest of a checkpoint covers is
covered through the manifest. The study counts by its content, because reading a database may change its bytes. Data
that the run collected is covered, too. What is only ever appended to (`GROWING`) is covered as far as it went.

This finds accidents, edits by hand, and every single change, that of the seal itself included. It is no signature:
who changes a file and computes all hashes again is not found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from sweep.errors import RunError
from sweep.results.differences import Fault, faults_of
from sweep.runs.paths import RunPaths, data_at
from sweep.runs.record import RunRecord, read_record
from sweep.storage.hashes import canonical_hash
from sweep.storage.path import StoredPath
from sweep.study.reading import read_attributes
from sweep.study.records import Record, read_records
from sweep.trials.checkpoints import MANIFEST_FILE, hashes_of

FORMAT = "sweep-seal/1"
SEAL = "seal.json"
BUNDLED = ("bundle.json", "bundled/*")
"""What a bundle adds to a run: its table of contents, and data and items, which have fingerprints of their own."""
SCRATCH = ("driver[.-]*", "stop.json", "rce/*.lock", "tune/*", "wandb/*")
UNSEALED = (SEAL, "study.db*", "run.log", "ray.log", "report.html", *SCRATCH, *BUNDLED)
"""The seal, the study's bytes, text for people, what drivers say of themselves, locks, what Tune and W&B keep: no
result rests on any of these bytes."""
GROWING = ("ledger.jsonl",)
CHECKPOINTS = ("rce/*", "given/*", "trials/*/best/step-*", "trials/*/resume/step-*", "finalists/*/best/step-*")
READERS = 8
AGAIN = "if a later resume or evaluate was cut off, repeat it"


@dataclass(frozen=True)
class Seal:
    """What `seal.json` holds.

    Attributes:
        files: SHA-256 by path relative to the run's folder.
        growing: bytes and SHA-256 of files that may have grown since.
        data: SHA-256 of the files of collected data, by name.
        attributes: what the study holds beside its trials.
        trials: `record_hash` of every trial, by number.
    """

    files: dict[str, str]
    growing: dict[str, tuple[int, str]]
    data: dict[str, str]
    attributes: dict[str, Any]
    trials: list[str]

    @property
    def started(self) -> float | None:
        """When the run was first started, in seconds since the epoch."""
        started = self.attributes.get("user_attrs", {}).get("sweep:started")
        return started if isinstance(started, float) else None


def record_hash(record: Record) -> str:
    """SHA-256 of all that the study holds of a trial."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()  # NaN is allowed, unlike elsewhere


def seal(paths: RunPaths) -> None:
    """Seal a run as it is now, if it has ended. To be called by its driver, when all else is written."""
    if not paths.ranking_file.exists():
        return
    record = read_record(paths)
    url = record.storage_url(paths)
    names = _names(paths)
    growing = {name: (paths.root / name).read_bytes() for name in names if name in GROWING}
    found = Seal(
        files=_hashes(paths.root, [name for name in names if name not in GROWING]),
        growing={name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in growing.items()},
        data=_data_hashes(collected_folder(paths, record)),
        attributes=read_attributes(url, record.study),
        trials=[record_hash(one) for one in read_records(url, record.study)],
    )
    values = json.loads(json.dumps(asdict(found)))
    paths.seal_file.write_json({"format": FORMAT, "sha256": canonical_hash(values), **values})


def read_seal(paths: RunPaths) -> Seal:
    """The seal of a run. Raises RunError if it is damaged, or FileNotFoundError."""
    content = paths.seal_file.read_bytes()
    try:
        values = json.loads(content)
        if not isinstance(values, dict) or values.pop("format") != FORMAT:
            raise ValueError(f"format is not {FORMAT!r}")
        if values.pop("sha256") != canonical_hash(values):
            raise ValueError("it was altered after it was written")
        return Seal(**values)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{paths.seal_file}: no seal of a run ({error})") from None


def seal_faults(paths: RunPaths, record: RunRecord | None, records: list[Record] | None) -> list[Fault]:
    """What differs from the seal: files changed, removed or added, and the study. Empty where a run has no seal.

    Args:
        paths: of the run.
        record: of the run. None where it cannot be read, which others say.
        records: of the study. None in the same case.
    """
    try:
        sealed = read_seal(paths)
    except FileNotFoundError:
        if not _was_sealed(paths):
            return []
        return [Fault(SEAL, "", "missing", f"there when the run ended; {AGAIN}", SEAL)]
    except RunError as error:
        return [Fault(SEAL, "", str(error).rpartition(f"{SEAL}: ")[2], "as the driver wrote it", SEAL)]
    found = [*_file_faults(paths, sealed), *_data_faults(paths, sealed, record)]
    if record is not None and records is not None:
        attributes = read_attributes(record.storage_url(paths), record.study)
        found += [*faults_of("study.db", attributes, sealed.attributes, source=SEAL), *_trial_faults(sealed, records)]
    return found


def is_sealed(paths: RunPaths) -> bool:
    """Whether the run has a seal, be it good or not."""
    return paths.seal_file.exists()


def _was_sealed(paths: RunPaths) -> bool:
    """Whether a driver that seals has ended the run: only those write records of trials."""
    return paths.ranking_file.exists() and bool(paths.trials_folder.glob("*/study.json"))


def _file_faults(paths: RunPaths, sealed: Seal) -> Iterator[Fault]:
    names = _names(paths)
    now = _hashes(paths.root, [name for name in names if name not in GROWING])
    for name in sorted(sealed.files.keys() | now.keys()):
        yield from _fault(name, sealed.files.get(name), now.get(name))
    for name, (size, expected) in sealed.growing.items():
        content = (paths.root / name).read_bytes() if name in names else None
        found = None if content is None else hashlib.sha256(content[:size]).hexdigest()
        yield from _fault(name, expected, found)


def _data_faults(paths: RunPaths, sealed: Seal, record: RunRecord | None) -> Iterator[Fault]:
    folder = None if record is None else collected_folder(paths, record)
    if sealed.data and (data := _data_hashes(folder)):  # it may have been moved away, and then nothing is known
        for name in sorted(sealed.data.keys() | data.keys()):
            yield from _fault(f"{folder}/{name}", sealed.data.get(name), data.get(name))


def _fault(name: str, sealed: str | None, now: str | None) -> Iterator[Fault]:
    if sealed == now:
        return
    if now is None:
        yield Fault(name, "", "missing", "there when the run was sealed", SEAL)
    elif sealed is None:
        yield Fault(name, "", "added", "not there when the run was sealed", SEAL)
    else:
        yield Fault(name, "", f"changed (SHA-256 {now[:12]})", f"SHA-256 {sealed[:12]}", SEAL)


def _trial_faults(sealed: Seal, records: list[Record]) -> Iterator[Fault]:
    now = [record_hash(one) for one in records]
    for number in range(max(len(now), len(sealed.trials))):
        if number >= len(now):
            yield Fault("study.db", f"trial {number}", "missing", "there when the run was sealed", SEAL)
        elif number >= len(sealed.trials):
            yield Fault("study.db", f"trial {number}", "added", "not there when the run was sealed", SEAL)
        elif now[number] != sealed.trials[number]:
            yield Fault("study.db", f"trial {number}", "changed", "as it was sealed", SEAL)


def _names(paths: RunPaths) -> list[str]:
    """The files that a seal names, sorted."""
    names = [name for name in paths.root.walk() if not any(fnmatchcase(name, pattern) for pattern in UNSEALED)]
    covered = {
        f"{folder}/{inner}" for folder in _checkpoints(names) for inner in _covered(paths.root / folder / MANIFEST_FILE)
    }
    return [name for name in names if name not in covered]


def _checkpoints(names: list[str]) -> list[str]:
    folders = [name.removesuffix(f"/{MANIFEST_FILE}") for name in names if name.endswith(f"/{MANIFEST_FILE}")]
    return [one for one in folders if any(fnmatchcase(one, pattern) for pattern in CHECKPOINTS)]


def _covered(manifest: StoredPath) -> list[str]:
    """What a manifest covers. Manifests of version 0.1 do not cover all, and so they count for nothing here."""
    try:
        values = json.loads(manifest.read_bytes())
        return list(hashes_of(values)) if "files" in values else []
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []


def _hashes(root: StoredPath, names: list[str]) -> dict[str, str]:
    """Of files that are there. Those that vanish meanwhile are left out."""

    def hashed(name: str) -> str | None:
        try:
            return (root / name).sha256()
        except FileNotFoundError:
            return None

    with ThreadPoolExecutor(READERS, "hashing") as threads:
        found = zip(names, threads.map(hashed, names), strict=True)
        return {name: one for name, one in found if one is not None}


def collected_folder(paths: RunPaths, record: RunRecord) -> StoredPath | None:
    """Where a run's data is, if it was collected. Other data is the user's, and its fingerprint says what it is."""
    if record.data is None:
        return None
    kept, shared = data_at(paths, record.data), paths.shared.root / "data"
    if isinstance(kept, StoredPath):
        return kept
    return shared / kept.name if not shared.is_remote and kept.parent == shared.local().absolute() else None


def _data_hashes(folder: StoredPath | None) -> dict[str, str]:
    return {} if folder is None else _hashes(folder, folder.walk())
