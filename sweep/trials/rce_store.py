"""The RCE stage as a content-addressed artifact of a run, trained once and shared by every trial whose RCE settings,
data and validation are equal.

Several trials may want the same artifact at the same moment, in several processes. A file lock picks one to train it;
the others wait and replay its reports. The lock belongs to the process, so that a killed trainer frees it at once.
A run folder of this machine must therefore be on a file system that all workers share and that supports `flock`. For
one kept elsewhere the lock is a lease, which two processes can in rare cases hold at once; then the artifact that is
stored first counts, for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from filelock import Timeout
from torch import Tensor

from selector.reports import EpochReport
from selector.settings import TrialSettings, ValidationSettings
from selector.training import RceStage
from sweep.storage.hashes import canonical_hash
from sweep.storage.path import StoredPath
from sweep.trials.checkpoints import MANIFEST_FILE, read_checkpoint, read_manifest, read_reports, write_checkpoint

WAIT_SECONDS = 0.2


@dataclass(frozen=True)
class RceKey:
    """All that the RCE stage depends on; `digest` names the artifact."""

    settings: dict[str, Any]
    validation: dict[str, Any]
    data_fingerprint: str

    @classmethod
    def of(
        cls, settings: TrialSettings, validation: ValidationSettings, data_fingerprint: str, init: str | None = None
    ) -> RceKey:
        """The key of a trial. `init` is the hash of the weights that it starts from, if not the seed's."""
        own = settings.rce_key() | ({} if init is None else {"init_from": init})
        return cls(own, validation.model_dump(mode="json", exclude={"batch_size"}), data_fingerprint)

    @property
    def digest(self) -> str:
        """64 hex digits."""
        return canonical_hash([self.settings, self.validation, self.data_fingerprint])


class RceStore:
    """RCE artifacts of one run.

    Invariant: for every digest at most one process trains at any time (see above), and a complete artifact is never
    replaced.
    """

    def __init__(self, folder: StoredPath) -> None:
        self._folder = folder

    def folder(self, key: RceKey) -> StoredPath:
        """Where the artifact is or will be."""
        return self.folder_of(key.digest)

    def folder_of(self, digest: str) -> StoredPath:
        """The same, by the digest alone."""
        return self._folder / digest

    def epochs(
        self, key: RceKey, make_stage: Callable[[], tuple[RceStage, list[EpochReport]]], origin: dict[str, Any]
    ) -> Iterator[tuple[EpochReport, RceStage | None]]:
        """Reports of all RCE epochs, trained here (with the live stage) or replayed (with None).

        Args:
            key: of the artifact.
            make_stage: the stage to train, possibly restored part-way, and the reports it already gave; only called
                if the artifact has to be trained here.
            origin: lineage for the manifest (run, trial, versions).
        """
        folder = self.folder(key)
        lock = (self._folder / f"{key.digest}.lock").lock()
        while not (folder / MANIFEST_FILE).exists():
            try:
                lock.acquire(timeout=WAIT_SECONDS)
            except Timeout:
                continue
            try:
                if not (folder / MANIFEST_FILE).exists():
                    yield from self._train(key, *make_stage(), origin)
                    return
            finally:
                lock.release()
        for report in read_reports(read_manifest(folder)["reports"], folder):
            yield report, None

    def _train(
        self, key: RceKey, stage: RceStage, reports: list[EpochReport], origin: dict[str, Any]
    ) -> Iterator[tuple[EpochReport, RceStage | None]]:
        for report in reports:
            yield report, None
        for report in stage:
            reports.append(report)
            if stage.epoch == stage.epochs:
                self._store(key, stage, reports, origin)
            yield report, stage
        if not reports:
            self._store(key, stage, reports, origin)

    def _store(self, key: RceKey, stage: RceStage, reports: list[EpochReport], origin: dict[str, Any]) -> None:
        manifest = {
            "kind": "rce",
            "digest": key.digest,
            "key": {"settings": key.settings, "validation": key.validation, "data_fingerprint": key.data_fingerprint},
            "reports": [report.to_dict() for report in reports],
            **origin,
        }
        write_checkpoint(self.folder(key), stage.reference_weights(), manifest)

    def weights(self, key: RceKey) -> dict[str, Tensor]:
        """The reference policy of a complete artifact. Raises CheckpointError if it is missing or altered."""
        return read_checkpoint(self.folder(key))[0]
