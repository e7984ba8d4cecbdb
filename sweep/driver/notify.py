"""Telling a web hook that a run has ended.

Invariant: it changes nothing. What goes wrong is one line of warning; the run's result and exit code stay.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO, Any

from selector.errors import UserError, first_line
from sweep.driver.pulse import Pulse
from sweep.results.outcome import RunOutcome
from sweep.runs.driver import End
from sweep.runs.paths import RunPaths
from sweep.settings.notify import NotifySettings
from sweep.terminal.outlet import write_error

SECONDS = 10.0
OK = range(200, 300)


@dataclass
class EndOfRun:
    """What is known of a run's end. Filled in on the way.

    Attributes:
        paths: None until the run has a folder.
        outcome: None if the run did not get as far.
        pulse: the driver's, which knows why it was interrupted.
    """

    paths: RunPaths | None = None
    outcome: RunOutcome | None = None
    pulse: Pulse | None = None

    @property
    def why(self) -> str:
        """Why it was interrupted."""
        return self.pulse.why if self.pulse is not None else ""


@contextmanager
def notified(settings: NotifySettings | None) -> Iterator[EndOfRun]:
    """A block that is a run. When it ends, in whatever way, the hook is told."""
    end, begun = EndOfRun(), time.monotonic()
    try:
        yield end
    except BaseException as error:
        if settings is not None:
            send(settings, _failed(end, error, time.monotonic() - begun))
        raise
    if settings is not None and end.outcome is not None:
        send(settings, _ended(end, end.outcome, time.monotonic() - begun))


def _ended(end: EndOfRun, outcome: RunOutcome, seconds: float) -> dict[str, Any]:
    best = outcome.ranked[0] if outcome.ranked and outcome.ranked[0].is_complete else None
    state = End.INTERRUPTED if outcome.interrupted else End.FAILED if outcome.exit_code else End.FINISHED
    return {
        **_document(outcome.paths, state, outcome.exit_code, seconds),
        "best": None if best is None else {"trial": best.number, "val_loss": best.value},
        "verdict": None if outcome.verdict is None else outcome.verdict.sentence,
        "message": outcome.ended_because or end.why,
    }


def _failed(end: EndOfRun, error: BaseException, seconds: float) -> dict[str, Any]:
    if isinstance(error, KeyboardInterrupt):
        return {**_document(end.paths, End.INTERRUPTED, 130, seconds), "message": end.why or "interrupted"}
    known = isinstance(error, UserError | OSError)
    message = first_line(error) if isinstance(error, UserError | OSError) else type(error).__name__
    return {**_document(end.paths, End.FAILED, 2 if known else 1, seconds), "message": message}


def _document(paths: RunPaths | None, state: End, exit_code: int, seconds: float) -> dict[str, Any]:
    return {
        "format": "sweep-notification/1",
        "run": None if paths is None else paths.name,
        "folder": None if paths is None else paths.shown,
        "state": state.value,
        "exit_code": exit_code,
        "seconds": round(seconds, 1),
        "best": None,
        "verdict": None,
        "message": "",
    }


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The document goes where the user said, and nowhere else."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Not followed: the answer counts as it is."""


def send(settings: NotifySettings, document: dict[str, Any], seconds: float = SECONDS) -> None:
    """Post a document, and wait for so many seconds at most. Failures are one line on stderr."""
    failures: list[str] = ["no answer in time"]

    def post() -> None:
        failures[:] = [_post(settings.url, document, seconds)]

    thread = threading.Thread(
        target=post, name="notify", daemon=True
    )  # a server may answer a byte at a time, for hours
    thread.start()
    thread.join(seconds)
    if failures[0]:
        write_error(f"warning: the message to {settings.host} (notify.url) was not delivered: {failures[0]}\n")


def _post(url: str, document: dict[str, Any], seconds: float) -> str:
    """What went wrong; nothing if the server took it."""
    headers = {"Content-Type": "application/json", "User-Agent": "sweep"}
    request = urllib.request.Request(url, json.dumps(document).encode(), headers, method="POST")  # noqa: S310 (checked)
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=seconds) as answer:
            return "" if answer.status in OK else f"HTTP {answer.status}"
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return first_line(error.reason) if isinstance(error.reason, Exception) else str(error.reason)
    except (OSError, HTTPException, ValueError) as error:
        return f"{type(error).__name__}"
