"""Ray's Jobs API: a cluster as its dashboard shows it to another machine. Only translates; nothing is decided here."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sweep.errors import ClusterError
from sweep.execution.ray.environment import ADDRESS, TOKEN_FILE, environment
from sweep.execution.ray.start import reason_of
from sweep.execution.ray.token import home_folder, how_to_be_let_in
from sweep.vlm.pool.nodes import Node

SERVER_ADDRESS = "RAY_API_SERVER_ADDRESS"
HEADERS = "RAY_JOB_HEADERS"
"""Ray's own variable: a JSON object of headers. They may hold secrets, so there is no option for them."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
SECONDS_TO_ANSWER = 30.0
SECONDS_TO_UPLOAD = 600.0
LOOK_SECONDS = 20.0
"""A log that says nothing for so long: is the cluster still there?"""


class JobState(StrEnum):
    """Ray's states of a job."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self not in (JobState.PENDING, JobState.RUNNING)


@dataclass(frozen=True)
class Job:
    """A job that was submitted. Texts in it are a stranger's.

    Attributes:
        name: its submission id.
        labels: what the submitter noted, as text.
        message: Ray's, on its state.
        began: seconds since the epoch; `ended` as well. None: not known, or not yet.
        exit_code: of the command, where it ended by itself.
        runtime: Ray's runtime environment of the job.
    """

    name: str
    state: JobState
    labels: Mapping[str, str]
    entry_point: str
    message: str
    began: float | None
    ended: float | None
    exit_code: int | None
    runtime: Mapping[str, Any] = field(repr=False)


def is_dashboard(address: str | None) -> bool:
    """Whether an address is that of a dashboard, and not one that a driver joins."""
    return address is not None and address.startswith(("http://", "https://"))


def dashboard_of(address: str | None, variables: Mapping[str, str]) -> str:
    """The URL of the dashboard that is meant.

    Args:
        address: what `--address` says. None: what the environment says, as for `ray job submit`.
        variables: the environment.

    Raises:
        ClusterError: there is none, or it cannot be used.
    """
    by = "--address" if address is not None else SERVER_ADDRESS if variables.get(SERVER_ADDRESS) else ADDRESS
    named = address if address is not None else variables.get(by)
    if not named:
        raise ClusterError("name the cluster: --address with the URL of its dashboard, such as http://127.0.0.1:8265")
    if not is_dashboard(named):
        raise ClusterError(
            f"{by} is {named}: jobs are handed in at the dashboard, so give its URL, such as http://HEAD:8265"
        )
    try:
        parts = urlsplit(named)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        has_port = False
    if not has_port or not parts.hostname:
        raise ClusterError(f"{by} is {named}: not a URL; expected one such as http://127.0.0.1:8265")
    if parts.username is not None or parts.query or parts.fragment:
        raise ClusterError(
            f"{by}: a URL with a user, a password or options can be read in the list of processes; set {HEADERS} "
            '(such as {"Authorization": "Basic ..."}) instead'
        )
    return named.rstrip("/")


def headers_of(variables: Mapping[str, str]) -> dict[str, str]:
    """The headers that the environment names. Raises ClusterError, without their content, if they are none."""
    text = variables.get(HEADERS, "")
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ClusterError(f'{HEADERS}: expected a JSON object of texts, such as {{"Authorization": "Bearer ..."}}')
    return found


def is_exposed(url: str, variables: Mapping[str, str]) -> bool:
    """Whether a secret would travel in clear text over a network."""
    has_secret = variables.get("RAY_AUTH_MODE", "").lower() == "token" or bool(variables.get(HEADERS))
    return has_secret and url.startswith("http://") and urlsplit(url).hostname not in LOOPBACK


def _for_the_client(url: str, variables: Mapping[str, str]) -> dict[str, str | None]:
    """Changes of the environment for Ray's client.

    The addresses in it would win over the one that was given. A Ray that was started on this machine asks for the
    user's token if there is one, whatever is set. To another machine it is only sent where the user says so.
    """
    changes: dict[str, str | None] = {ADDRESS: None, SERVER_ADDRESS: None}
    home = home_folder()
    has_token = {"RAY_AUTH_TOKEN", TOKEN_FILE} & set(variables) or (home and (home / ".ray" / "auth_token").exists())
    if "RAY_AUTH_MODE" not in variables and urlsplit(url).hostname in LOOPBACK and has_token:
        changes["RAY_AUTH_MODE"] = "token"
    return changes


class JobServer:
    """The Jobs API of one cluster. All methods raise ClusterError, on one line, where the cluster does not help."""

    def __init__(self, url: str, verify: bool | str = True) -> None:
        """Connect.

        Args:
            url: as `dashboard_of` gives it.
            verify: whether the certificate of an https server is checked, or a file or folder of authorities.
        """
        self.url = url
        if isinstance(verify, str) and not Path(verify).exists():
            raise ClusterError(f"--verify {verify}: no such file or folder of certificates")
        headers = headers_of(os.environ)
        with self._translated(), environment(_for_the_client(url, os.environ)):
            self._client = _client_class()(url, headers=headers, verify=verify)

    def ray_version(self) -> str:
        """Of the cluster."""
        return str(self._get("/api/version")["ray_version"])

    def nodes(self) -> list[Node]:
        """Those that live."""
        found = self._get("/api/v0/nodes?detail=1&limit=10000")["data"]["result"]["result"]
        return [_node(entry) for entry in found if entry.get("state") == "ALIVE"]

    def jobs(self) -> list[Job]:
        """All that the head remembers, the newest first."""
        with self._translated():
            found = [_job(one) for one in self._client.list_jobs() if one.submission_id]
        return sorted(found, key=lambda job: job.began or 0.0, reverse=True)

    def job(self, name: str) -> Job:
        """As it is now."""
        with self._translated():
            return _job(self._client.get_job_info(name))

    def submit(self, name: str, entry_point: str, runtime: Mapping[str, Any], labels: Mapping[str, str]) -> None:
        """Hand in a job. A local zip file as `working_dir` is uploaded first."""
        with self._translated():
            self._client.submit_job(
                entrypoint=entry_point, submission_id=name, runtime_env=dict(runtime), metadata=dict(labels)
            )

    def stop(self, name: str) -> None:
        """Have Ray send SIGTERM. What takes too long is killed (`RAY_JOB_STOP_WAIT_TIME_S` of the job)."""
        with self._translated():
            self._client.stop_job(name)

    def forget(self, name: str) -> None:
        """Take a job that is over off the list."""
        with self._translated():
            self._client.delete_job(name)

    def log(self, name: str) -> str:
        """All that a job has said."""
        with self._translated():
            return str(self._client.get_job_logs(name))

    def follow(self, name: str) -> Iterator[str]:
        """What a job says, piece by piece from its beginning, until it is over."""
        with self._translated(), asyncio.Runner() as runner:
            pieces = self._client.tail_job_logs(name)
            while (piece := runner.run(self._next(pieces, name))) is not None:
                yield piece

    async def _next(self, pieces: AsyncIterator[str], name: str) -> str | None:
        """The next piece. Ray's stream never ends where a machine is gone without a word, so we look now and then."""
        task = asyncio.ensure_future(anext(pieces, None))
        while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
            await asyncio.to_thread(self.job, name)
        return await task

    def _get(self, path: str) -> Any:  # noqa: ANN401 (JSON)
        with self._translated():
            answer = self._client._do_request("GET", path)
            answer.raise_for_status()
            return answer.json()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ClusterError:
            raise
        except Exception as error:  # Ray raises what it comes across, bare exceptions too
            kind = type(error).__name__
            if kind == "AuthenticationError":
                raise ClusterError(f"{self.url} does not let us in: {how_to_be_let_in(os.environ)}") from error
            cause = _innermost(error)
            if isinstance(cause, ssl.SSLError):
                raise ClusterError(
                    f"{self.url}: {reason_of(cause)}; --verify FILE names the authorities of its certificate"
                ) from error
            if isinstance(error, OSError):  # those of requests are, too
                raise ClusterError(
                    f"no Ray dashboard answers at {self.url} ({reason_of(cause)}); is its head running, is this its "
                    "port (8265 where none was chosen), and does a tunnel or proxy lead there?"
                ) from error
            raise ClusterError(f"{self.url}: {reason_of(error).rstrip('.')}") from error


def _innermost(error: Exception) -> Exception:
    """What began it. requests and Ray wrap errors several times."""
    while isinstance(inner := error.__cause__ or error.__context__, Exception):
        error = inner
    return error


def _client_class() -> Any:  # noqa: ANN401 (Ray is untyped)
    from ray.dashboard.modules import dashboard_sdk
    from ray.dashboard.modules.job import sdk
    from ray.job_submission import JobSubmissionClient

    for module in (dashboard_sdk, sdk):  # they say where uploads go, and how streams are closed
        module.logger.setLevel(logging.WARNING)

    class Patient(JobSubmissionClient):  # type: ignore[misc]
        """Ray's own waits for ever for a host that says nothing."""

        def _do_request(self, method: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            seconds = SECONDS_TO_UPLOAD if method == "PUT" else SECONDS_TO_ANSWER
            return super()._do_request(method, *arguments, **{"timeout": seconds, **options})

    return Patient


def _job(found: Any) -> Job:  # noqa: ANN401 (Ray's JobDetails)
    return Job(
        name=str(found.submission_id),
        state=JobState(str(getattr(found.status, "value", found.status))),
        labels=found.metadata or {},
        entry_point=found.entrypoint,
        message=found.message or "",
        began=_seconds(found.start_time),
        ended=_seconds(found.end_time),
        exit_code=found.driver_exit_code,
        runtime=found.runtime_env or {},
    )


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None


def _node(entry: Mapping[str, Any]) -> Node:
    return Node(
        identity=str(entry["node_id"]),
        address=str(entry["node_ip"]),
        host=str(entry["node_name"]),
        resources=entry.get("resources_total") or {},
        labels=entry.get("labels") or {},
    )
