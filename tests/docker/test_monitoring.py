"""Prometheus and Grafana: what they ask for exists, and nobody else is served."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import ray.util.metrics
import yaml

from sweep.execution.ray.metrics import COUNTERS, GAUGES, PrometheusObserver
from tests.docker.images import DOCKER

SERVICES = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]
MONITORING = {name: settings for name, settings in SERVICES.items() if settings.get("profiles") == ["monitoring"]}
DASHBOARD = json.loads((DOCKER / "grafana/dashboards/sweep.json").read_text(encoding="utf-8"))
STABLE = {
    "ray_sweep_trials": {"run", "state"},
    "ray_sweep_best_val_loss": {"run"},
    "ray_sweep_epochs_done_total": {"run"},
    "ray_sweep_val_loss": {"run", "trial"},
    "ray_sweep_kl": {"run", "trial"},
    "ray_sweep_advantage_std": {"run", "trial"},
    "ray_sweep_queries_per_second": {"run", "trial"},
}
"""Others have dashboards and alarms on these. A name may be added, and none goes or changes its tags."""


def test_names_and_tags_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, set[str]] = {}

    def metric(name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        made[name] = set(tag_keys)

    for kind in ("Gauge", "Counter"):
        monkeypatch.setattr(ray.util.metrics, kind, metric)
    PrometheusObserver("mine")
    assert set(made) == set(GAUGES) | set(COUNTERS)
    exported = {f"ray_{name}{'_total' if name in COUNTERS else ''}": tags for name, tags in made.items()}
    assert {name: exported.get(name) for name in STABLE} == STABLE


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_the_dashboard_asks_for_names_that_exist_and_leaves_out_none() -> None:
    named = {name for text in expressions() for name in re.findall(r"ray_\w+", text)}
    assert named == set(STABLE), "what is exported is shown"
    assert all('{run=~"$run"}' in text for text in expressions())
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            (name,) = re.findall(r"ray_\w+", target["expr"])
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= STABLE[name], panel["title"]
            assert set(re.findall(r"by \((\w+)\)", target["expr"])) <= STABLE[name], panel["title"]


def test_panels_do_not_overlap_and_all_have_a_title() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert panel["title"] and not cells & taken and at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_uses_the_provisioned_source() -> None:
    file = DOCKER / "grafana/provisioning/datasources/prometheus.yml"
    (source,) = yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]
    variable, runs = DASHBOARD["templating"]["list"]
    assert variable["query"] == source["type"] and variable["current"]["value"] == source["uid"]
    assert runs["query"]["query"] == "label_values(ray_sweep_trials, run)"
    assert source["url"] == "http://prometheus:9090" and set(MONITORING) == {"prometheus", "grafana"}


def test_prometheus_asks_every_node_of_the_cluster() -> None:
    config = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    (discovery,) = config["scrape_configs"][0]["dns_sd_configs"]
    assert set(discovery["names"]) == set(SERVICES) - set(MONITORING)
    assert f"--metrics-export-port={discovery['port']}" in (DOCKER / "entrypoint.sh").read_text(encoding="utf-8")


def test_they_are_published_on_this_machine_alone_and_mount_what_exists() -> None:
    for settings in MONITORING.values():
        assert all(re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port) for port in settings["ports"])
        assert settings["cap_drop"] == ["ALL"] and settings["networks"] == ["cluster"]
        assert not settings["image"].endswith(":latest") and ":" in settings["image"]
        for volume in settings.get("volumes", []):
            source, _, mode = volume.partition(":")
            if source.startswith("./"):
                assert (DOCKER / Path(source)).exists() and mode.endswith(":ro")


def test_nobody_can_log_in_with_grafanas_first_password() -> None:
    environment = MONITORING["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false" and environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
