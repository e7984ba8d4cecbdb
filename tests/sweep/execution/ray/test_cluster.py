"""What Ray's own `init` lacks: a free port for the agent, and a word on the token of a cluster."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from ray._private import parameter

from sweep.errors import ClusterError
from sweep.execution.ray.cluster import connected
from sweep.execution.ray.options import RayOptions


def without_ray(monkeypatch: pytest.MonkeyPatch, init: Any) -> None:
    """No Ray is used yet, and `init` is what starts or joins one."""
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # the tests' own Ray stays


def test_two_rays_on_one_machine_do_not_want_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the dashboard's agent, which has the jobs. Ray's own `init` asks for one port always."""
    ports = []

    def fail(**options: object) -> None:
        ports.append(parameter.RayParams().dashboard_agent_listen_port)
        raise RuntimeError("enough")

    without_ray(monkeypatch, fail)
    with pytest.raises(ClusterError), connected("mine", 0, RayOptions()):
        pass
    assert set(ports) == {0}, "0: whichever is free"
    assert parameter.RayParams().dashboard_agent_listen_port == 52365, "nobody else's Ray is changed"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "if that cluster asks for a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file"),
        ({"RAY_AUTH_MODE": "disabled"}, "if that cluster asks for a token, set RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, "is the token of RAY_AUTH_TOKEN that of the cluster?"),
        (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/a/file"},
            "is the token of RAY_AUTH_TOKEN_PATH (/a/file) that of the cluster?",
        ),
        ({"RAY_AUTH_MODE": "token"}, "is the token of ~/.ray/auth_token that of the cluster?"),
    ],
)
def test_a_cluster_that_lets_nobody_in_may_want_a_token(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    """Ray 2.60 says the same, whether the token is wrong or missing."""

    def refuse(**options: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at 127.0.0.2:6379")

    without_ray(monkeypatch, refuse)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError) as raised, connected("mine", 0, RayOptions(address="auto")):
        pass
    message = str(raised.value)
    assert "Failed to connect to Ray cluster" in message and said in message and "`ray get-auth-token`" in message
    assert "\n" not in message and "0" * 64 not in message
