"""`sweep watch`: who is answered, what is made anew and when, and a run that grows in a real browser."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Error, Frame

from sweep.api import load_run
from sweep.driver.pulse import Pulse
from sweep.errors import RunError
from sweep.report.page.page import page_of
from sweep.report.watch import server as watching
from sweep.report.watch.server import Reports, Watched, WatchServer, listen
from sweep.results.overview.make import overview
from sweep.results.overview.sources import Material
from sweep.runs.driver import Phase
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.space.model import Budget
from sweep.study import AskedTrial, StudyOwner
from tests.browser import page
from tests.sweep.commands import Command
from tests.sweep.trees import tree

SECONDS = 30.0


@contextmanager
def serving(paths: RunPaths, make: Callable[[RunPaths], str]) -> Iterator[WatchServer]:
    with listen(0, Watched(paths, make)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: WatchServer, path: str, method: str = "GET", host: str | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=SECONDS)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    return connection.getresponse()


@pytest.fixture(scope="module")
def served(finished: RunPaths) -> Iterator[WatchServer]:
    with serving(finished, lambda paths: f"<p>{paths.name}") as server:
        yield server


def test_it_is_heard_on_this_machine_alone(served: WatchServer) -> None:
    assert served.server_address[0] == "127.0.0.1" and served.url == f"http://127.0.0.1:{served.server_port}/"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "localhost:8320", "LOCALHOST", "[::1]", "[::1]:80", None])
def test_who_asks_for_this_machine_by_name_is_answered(served: WatchServer, host: str | None) -> None:
    assert ask(served, "/status", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8320", "127.0.0.1.evil.example", "localhost.evil:80", "127.0.0.1:x", "::1"],
)
@pytest.mark.parametrize("path", ["/", "/status", "/report"])
def test_a_page_whose_name_was_made_to_lead_here_gets_nothing(served: WatchServer, host: str, path: str) -> None:
    answer = ask(served, path, host=host)
    assert answer.status == 403 and b"mine" not in answer.read()


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_but_get(served: WatchServer, method: str) -> None:
    answer = ask(served, "/status", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize("path", ["/run.json", "/../run.json", "/page.py", "/status/", "//evil.example/"])
def test_no_other_file_is_served(served: WatchServer, path: str) -> None:
    assert ask(served, path).status in (200, 404) and b"data_fingerprint" not in ask(served, path).read()


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/status", "/report"])
def test_every_answer_says_what_a_browser_may_do_with_it(served: WatchServer, path: str) -> None:
    headers = ask(served, path).headers
    assert "frame-ancestors" in headers["Content-Security-Policy"] and headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff" and "Access-Control-Allow-Origin" not in headers
    if path != "/report":  # which has a policy of its own within
        assert "default-src 'self'" in headers["Content-Security-Policy"]


def test_the_status_is_the_one_that_the_command_prints(served: WatchServer) -> None:
    status = json.loads(ask(served, "/status").read())
    assert (status["run"], status["state"]) == ("mine", "finished")
    assert status["lines"][:2] == ["mine: finished", "5 of 5 trials ended (4 complete, 1 pruned)"]
    assert status["lines"][2].startswith("verdict: ")


def test_a_run_that_is_gone_is_said(copy: Path) -> None:
    paths = RunPaths.at(copy)
    with serving(paths, lambda paths: "") as server:
        paths.root.remove()
        status = json.loads(ask(server, "/status").read())
        assert status["state"] == "lost" and "not a run folder" in status["lines"][0] and status["report"] is None
        assert b"not a run folder" in ask(server, "/report").read()


def test_a_report_is_made_again_after_a_change_and_then_rests(
    finished: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, version, made = [100.0], ["a"], []

    def make(paths: RunPaths) -> str:
        now[0] += 10.0  # it takes so long
        made.append(version[0])
        return version[0]

    monkeypatch.setattr(watching, "_document", lambda status: {"version": version[0]})
    watched = Watched(finished, make, lambda: now[0])
    assert (watched.status()["report"], watched.report(), watched.report(), made) == ("a", "a", "a", ["a"])
    version[0] = "b"
    now[0] += 39.0
    assert (watched.status()["report"], watched.report(), made) == ("a", "a", ["a"]), "it rests four times as long"
    now[0] += 2.0
    assert (watched.status()["report"], watched.report(), made) == ("b", "b", ["a", "b"])


def test_a_status_that_takes_long_is_not_read_all_the_time(finished: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    now, read = [100.0], []

    def slow(paths: RunPaths) -> None:
        now[0] += 2.0
        read.append(now[0])

    monkeypatch.setattr(watching, "read_status", slow)
    monkeypatch.setattr(watching, "_document", lambda status: {"version": "a"})
    watched = Watched(finished, lambda paths: "", lambda: now[0])
    for _ in range(30):
        watched.status()
        now[0] += 0.5
    assert read == [102.0, 112.0], "it rests four times as long"


def test_the_status_does_not_wait_for_a_report(finished: RunPaths) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(paths: RunPaths) -> str:
        begun.set()
        assert may_end.wait(SECONDS)
        return "made"

    with serving(finished, slow) as server:
        reader = threading.Thread(target=ask, args=(server, "/report"))
        reader.start()
        assert begun.wait(SECONDS) and ask(server, "/status").status == 200
        may_end.set()
        reader.join()


def test_data_and_items_are_read_once_they_are_there(finished: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    read, made = [], []
    described = object()

    def material(paths: RunPaths, scratch: Path) -> Material:
        read.append(scratch)
        return Material(data=described if len(read) == 2 else None)  # type: ignore[arg-type]

    def html(paths: RunPaths, material: Material) -> str:
        made.append(material.data)
        return ""

    monkeypatch.setattr(watching, "read_material", material)
    monkeypatch.setattr(watching, "report_html", html)
    reports = Reports(Path("elsewhere"))
    for _ in range(4):
        reports(finished)
    assert made == [None, described, described, described] and read == [Path("elsewhere")] * 2


def test_a_taken_port_is_passed_over(finished: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(finished, lambda paths: "")
    with listen(0, watched) as first:
        with listen(first.server_port, watched) as second:
            assert second.server_port > first.server_port
        monkeypatch.setattr(watching, "PORTS", 1)
        with pytest.raises(
            RunError, match=rf"no port from {first.server_port} to {first.server_port} is free; .*--port 0"
        ):
            listen(first.server_port, watched)


def test_the_command_says_where_and_ends_with_one_line(
    copy: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(server: WatchServer) -> None:
        raise KeyboardInterrupt  # where SIGINT is ignored, as in the background of a script, none would come

    before = tree(copy.parent)
    monkeypatch.setattr(WatchServer, "serve_forever", interrupted)
    code, out, error = command("watch", str(copy), "--port", "0")
    lines = out.splitlines()
    assert code == 0 and error == "" and lines[-1] == "no longer watched"
    assert lines[-4].startswith("run mine is shown at http://127.0.0.1:") and lines[-3].startswith(
        "from another machine: ssh -L "
    )
    assert tree(copy.parent) == before


class Growing:
    """A run that has a driver again, which trains more trials."""

    def __init__(self, paths: RunPaths) -> None:
        paths.ranking_file.remove()
        run = load_run(paths.shown)
        self.paths = paths
        self.lock = paths.lock_file.lock()
        self.lock.acquire()
        url = read_record(paths).storage_url(paths)
        self.owner = StudyOwner.open(url, "mine", run.space.replace(budget=Budget(trials=9)))
        self.rows = [json.loads(line) for line in paths.trial(0).history_file.read_text().splitlines()]

    def train(self, *values: float) -> int:
        """A new trial with these values so far. Its number."""
        asked = self.owner.ask()
        assert isinstance(asked, AskedTrial)
        for step, value in enumerate(values, start=1):
            self.owner.report(asked.number, step, value)
        lines = [json.dumps({**row, "val_loss": value}) for row, value in zip(self.rows, values, strict=False)]
        self.paths.trial(asked.number).history_file.write_text("\n".join(lines) + "\n")
        return asked.number


def trials_alone(paths: RunPaths) -> str:
    """The report's section of trials. Each chart costs a browser without a GPU half a second."""
    document = overview(paths, Material())
    return page_of(replace(document, sections=tuple(one for one in document.sections if one.key == "trials")))


def test_a_run_that_grows_is_seen_to_grow(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "REST_SECONDS", 0.1)
    monkeypatch.setattr(watching, "REST", 0.0)
    monkeypatch.setattr(watching, "STATUS_SECONDS", 0.0)
    paths = RunPaths.at(copy)
    growing = Growing(paths)
    with serving(paths, trials_alone) as server, page(900, 500) as (browser, errors):
        with Pulse(paths, beat=0.2) as pulse:
            pulse.phase(Phase.TRAINING, "trials", 9, 5)
            browser.goto(server.url)

            def report() -> Frame:
                return next(one for one in browser.frames if one.parent_frame is browser.main_frame)

            def shows(text: str) -> bool:
                """Whether the report that is shown has this text. It may just be replaced by a newer one."""
                with suppress(Error, StopIteration):
                    return bool(browser.locator("iframe:not(.next)").count()) and text in report().inner_text("body")
                return False

            until(
                lambda: shows("Sweep mine") and report().evaluate("document.body.dataset.charts") == "drawn", "report"
            )
            assert browser.inner_text("#state") == "running" and "5 of 9 trials ended" in browser.inner_text("#rest")
            report().evaluate("scrollTo(0, 300)")

            number = growing.train(4.5, 4.1, 3.9)
            until(lambda: "1 running" in browser.inner_text("#rest"), "the new trial in the head")
            until(lambda: shows("3.9000"), "its value in the report")
            assert report().evaluate("scrollY") == 300, "the reader stays where he was"

            growing.owner.complete(number, 3.9)
            growing.lock.release()  # as if the driver were killed
            until(lambda: browser.inner_text("#state") == "dead", "that the driver is gone")
            assert "6 of 9 trials ended" in browser.inner_text("#rest")
        server.shutdown()
        server.server_close()
        until(lambda: browser.inner_text("#state") == "lost", "that nobody serves the page any more")
        growing.owner.close()
        assert [error for error in errors if "ERR_CONNECTION" not in error and "Failed to fetch" not in error] == []


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)
