"""Which dashboard is meant, and what may be sent to it. The Jobs API itself: tests/sweep/cli/test_submit.py."""

from __future__ import annotations

import pytest

from sweep.errors import ClusterError
from sweep.execution.ray.jobs import dashboard_of, headers_of, is_exposed


@pytest.mark.parametrize(
    ("address", "variables", "meant"),
    [
        ("http://head:8265/", {}, "http://head:8265"),
        ("https://ray.example/cluster", {"RAY_ADDRESS": "10.0.0.1:6379"}, "https://ray.example/cluster"),
        (None, {"RAY_API_SERVER_ADDRESS": "http://a:8265", "RAY_ADDRESS": "http://b:8265"}, "http://a:8265"),
        (None, {"RAY_ADDRESS": "http://b:8265"}, "http://b:8265"),
        ("http://[::1]:8265", {}, "http://[::1]:8265"),
    ],
)
def test_the_dashboard_that_is_meant(address: str | None, variables: dict[str, str], meant: str) -> None:
    assert dashboard_of(address, variables) == meant


@pytest.mark.parametrize(
    ("address", "variables", "reason"),
    [
        (None, {}, "name the cluster: --address"),
        ("", {}, "name the cluster"),
        ("head:6379", {}, r"--address is head:6379: jobs are handed in at the dashboard"),
        ("auto", {}, "handed in at the dashboard"),
        (None, {"RAY_ADDRESS": "head:6379"}, "RAY_ADDRESS is head:6379"),
        ("ray://head:10001", {}, "handed in at the dashboard"),
        ("anyscale://x", {}, "handed in at the dashboard"),  # Ray would import a module of this name
        ("http://head:82650000", {}, "not a URL"),
        ("http://", {}, "not a URL"),
        ("https://me:hunter2@ray.example", {}, "RAY_JOB_HEADERS"),
        ("https://ray.example/?token=hunter2", {}, "RAY_JOB_HEADERS"),
    ],
)
def test_what_is_no_dashboard(address: str | None, variables: dict[str, str], reason: str) -> None:
    with pytest.raises(ClusterError, match=reason) as refused:
        dashboard_of(address, variables)
    assert "hunter2" not in str(refused.value)


def test_headers_come_from_rays_variable_and_are_never_shown() -> None:
    assert headers_of({"RAY_JOB_HEADERS": '{"Authorization": "Bearer x"}'}) == {"Authorization": "Bearer x"}
    assert headers_of({}) == {}
    for wrong in ("hunter2", '["hunter2"]', '{"hunter2": 1}'):
        with pytest.raises(ClusterError, match=r"RAY_JOB_HEADERS: expected a JSON object") as refused:
            headers_of({"RAY_JOB_HEADERS": wrong})
        assert "hunter2" not in str(refused.value)


def test_a_secret_in_clear_text_over_a_network_is_warned_of() -> None:
    token = {"RAY_AUTH_MODE": "token"}
    assert is_exposed("http://10.0.0.1:8265", token) and is_exposed("http://h", {"RAY_JOB_HEADERS": "{}"})
    assert not is_exposed("https://10.0.0.1", token) and not is_exposed("http://127.0.0.1:8265", token)
    assert not is_exposed("http://10.0.0.1:8265", {})
