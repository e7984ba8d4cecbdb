"""TensorBoard event files, written by the thread that trains.

tensorboardX's own writer hands events to a background thread. When the disk is full that thread dies without a word,
and the trial then waits forever for room in its queue. Written here, the same error is the trial's own.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from sweep.storage.path import StoredPath
from sweep.trials.tensorboardx import Event, EventsWriter, SessionLog, Summary, scalar


class EventFile:
    """One new event file. Use as a context manager.

    Args:
        folder: made if missing.
        first_step: what earlier files of the folder say of this step and later ones is void. None: nothing is.
        suffix: ends the file's name. TensorBoard reads files by name: seconds, host, then this.

    Raises: OSError from every method, as any file does.
    """

    def __init__(self, folder: StoredPath, first_step: int | None, suffix: str = "") -> None:
        # The step in the name keeps a quick restart from writing over its own file: names have whole seconds.
        name = suffix or f".{first_step}"
        self._writer = EventsWriter(str((folder / "events").growing().file), name)
        self._file = (folder / Path(self._writer._file_name).name).growing()  # no public accessor
        self._add(Event(step=first_step or 0, file_version="brain.Event:2"))
        if first_step is not None:
            self._add(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; an error on the way out is not replaced by the file's own."""
        try:
            self._writer.close()
        except OSError:
            if error is None:
                raise

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add one point of a curve."""
        self.summary(scalar(name, value), step)

    def summary(self, summary: Summary, step: int = 0) -> None:
        """Add what a plugin of TensorBoard reads."""
        self._add(Event(step=step, summary=summary))

    def flush(self) -> None:
        """Make what was added visible to readers, wherever the run is kept."""
        self._writer.flush()
        self._file.upload()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)
