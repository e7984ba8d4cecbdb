"""The message at a run's end: what it says, where it goes, and that it changes nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sweep.driver import notify
from sweep.driver.notify import notified, send
from sweep.errors import RunError
from sweep.results.outcome import RunOutcome
from sweep.results.verdict import conclude
from sweep.runs.paths import RunPaths
from sweep.settings.notify import NotifySettings
from sweep.space import parse_space
from sweep.space.compare import identity
from sweep.study import TrialState
from tests.sweep.report.test_trials import summary
from tests.sweep.spaces import SMALL

FIELDS = {"format", "run", "folder", "state", "exit_code", "seconds", "best", "verdict", "message"}


class Hook(ThreadingHTTPServer):
    """A web hook that remembers what it was sent. The path says how it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    def settings(self, path: str) -> NotifySettings:
        return NotifySettings(url=f"http://127.0.0.1:{self.server_port}{path}")


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), json.loads(body)))
        if self.path == "/drip":
            with suppress(OSError):  # nobody waits for it any more
                for _ in range(50):
                    self.wfile.write(b"H")
                    time.sleep(0.1)
            return
        self.send_response({"/down": 503, "/moved": 302}.get(self.path, 204))
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.got.append((self.path, {}, {}))

    def log_message(self, *arguments: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def outcome(paths: RunPaths, *rows: Any, interrupted: bool = False) -> RunOutcome:
    verdict = None if interrupted else conclude(rows, None, None)
    return RunOutcome(paths, list(rows), [], None, interrupted, "all 2 trials of the budget were started", verdict)


def test_each_end_is_told_once_with_its_exit_code(hook: Hook, tmp_path: Path) -> None:
    paths = RunPaths.at(tmp_path / "mine")
    complete, failed = summary(3), summary(4, TrialState.FAIL, "no memory")
    for row, interrupted in ((complete, False), (failed, False), (complete, True)):
        with notified(hook.settings("/ok?key=k")) as end:
            end.paths, end.outcome = paths, outcome(paths, row, interrupted=interrupted)
    for error in (RunError("the disk is full\nmore"), KeyboardInterrupt(), ZeroDivisionError("inner")):
        with pytest.raises(type(error)), notified(hook.settings("/ok")) as end:
            end.paths = paths
            raise error
    documents = [document for _, _, document in hook.got]
    assert [(one["state"], one["exit_code"]) for one in documents] == [
        ("finished", 0),
        ("failed", 1),
        ("interrupted", 130),
        ("failed", 2),
        ("interrupted", 130),
        ("failed", 1),
    ]
    assert all(set(one) == FIELDS and one["run"] == "mine" for one in documents)
    assert documents[0]["best"] == {"trial": 3, "val_loss": 3 / 7} and documents[1]["best"] is None
    assert "similarity" in documents[0]["verdict"] and documents[2]["verdict"] is None
    assert documents[3]["message"] == "the disk is full" and documents[5]["message"] == "ZeroDivisionError"


def test_nothing_of_the_environment_is_sent(hook: Hook) -> None:
    send(hook.settings("/ok"), {"run": "mine"})
    ((_, headers, document),) = hook.got
    assert document == {"run": "mine"}
    assert set(headers) == {
        "Accept-Encoding", "Content-Length", "Host", "User-Agent", "Content-Type", "Connection",
    }  # fmt: skip
    assert headers["User-Agent"] == "sweep"


@pytest.mark.parametrize(
    ("path", "said"), [("/down", "HTTP 503"), ("/moved", "HTTP 302"), ("/drip", "no answer in time")]
)
def test_a_failure_is_one_line_without_the_url(
    hook: Hook, path: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify.send, "__defaults__", (0.5,))
    begun = time.monotonic()
    with notified(hook.settings(path)) as end:
        end.outcome = outcome(RunPaths.at("runs/mine"), summary(0))
    assert time.monotonic() - begun < 5
    error = capsys.readouterr().err
    assert error == f"warning: the message to 127.0.0.1 (notify.url) was not delivered: {said}\n"
    assert len(hook.got) == 1, "a redirection is not followed"


def test_where_nobody_listens(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    send(NotifySettings(url="http://127.0.0.1:9/secret"), {})
    error = capsys.readouterr().err
    assert error.startswith("warning: the message to 127.0.0.1 (notify.url) was not delivered: ") and "refused" in error
    assert "secret" not in error


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "ftp://h/s3cret", "file:///s3cret", "http://", "http:///s3cret", "http://h:x/s3cret",
        "https://me:s3cret@h/", "http://h/s3cret\r\nX: y", "http://h/s3cret path", "http://[::1/s3cret", "http://h:0/",
        "http://h/ü",
    ],
)  # fmt: skip
def test_what_is_no_hook_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValidationError):
        NotifySettings(url=url)
    with pytest.raises(Exception, match=r"notify\.url") as refused:
        parse_space(f"{SMALL}notify: {json.dumps({'url': url})}\n", "space.yaml")
    assert "s3cret" not in str(refused.value)


def test_a_resumed_run_may_tell_somebody_else() -> None:
    plain = parse_space(SMALL, "space.yaml")
    telling = parse_space(f"{SMALL}notify: {{url: 'https://example.org/hook'}}\n", "space.yaml")
    assert telling.notify is not None and telling.notify.host == "example.org"
    assert identity(plain) == identity(telling)
