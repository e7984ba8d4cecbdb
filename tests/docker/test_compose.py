"""The compose files: nothing open to the network, nothing without the token, one image for all nodes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docker.images import CPU, DOCKER, GPU, ROOT, texts

BASE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
OVERLAY = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text(encoding="utf-8"))
EACH_SERVICE = pytest.mark.parametrize("name", ["head", "worker", "sweep"])


def service(name: str) -> dict:
    return BASE["services"][name]


def test_services_are_the_three_that_are_tested_here():
    assert set(BASE["services"]) == set(OVERLAY["services"]) == {"head", "worker", "sweep"}


@EACH_SERVICE
def test_published_ports_are_on_localhost(name):
    for port in service(name).get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+|\$\{\w+:-\d+\}):\d+", port), port
    assert "network_mode" not in service(name)
    assert service(name)["networks"] == ["cluster"]


def test_only_the_dashboard_and_the_metrics_are_published():
    published = {name: [port.rsplit(":", 1)[1] for port in service(name).get("ports", [])] for name in BASE["services"]}
    assert published == {"head": ["8265"], "worker": [], "sweep": ["8080"]}


@EACH_SERVICE
def test_token_authentication_is_on_and_the_token_is_a_file(name):
    environment = service(name)["environment"]
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
    assert "RAY_AUTH_TOKEN" not in environment
    assert service(name)["secrets"] == ["ray_token"]


def test_secret_comes_from_a_file_that_git_and_the_builder_do_not_see():
    assert set(BASE["secrets"]) == {"ray_token"}
    assert BASE["secrets"]["ray_token"] == {"file": "${SWEEP_TOKEN_FILE:-./secrets/ray_token}"}
    assert "/secrets/" in (DOCKER / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert not any(rule.startswith("!docker/secrets") or rule in ("!docker", "!docker/") for rule in ignored)


@EACH_SERVICE
def test_container_has_no_more_rights_than_it_needs(name):
    settings = service(name)
    assert settings["user"] == texts(CPU, "USER")[0]
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "pid", "ipc", "devices"} & set(settings)


@EACH_SERVICE
def test_health_check_is_the_images_and_others_wait_for_it(name):
    check = service(name)["healthcheck"]
    assert 'CMD ["entrypoint", "health"]' in texts(CPU, "HEALTHCHECK")[0]
    assert check["test"] == ["CMD", "entrypoint", "health"]
    waits = {"head": set(), "worker": {"head"}, "sweep": {"head", "worker"}}[name]
    depends = service(name).get("depends_on", {})
    assert depends == {other: {"condition": "service_healthy"} for other in waits}


def test_all_nodes_are_one_image_built_from_one_file():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for name in BASE["services"]:
        assert service(name)["image"] == f"demonstration-sweep:{version}-cpu"
        assert service(name)["build"] == service("head")["build"]
        assert OVERLAY["services"][name]["image"] == f"demonstration-sweep:{version}-gpu"
        assert OVERLAY["services"][name]["build"] == {"dockerfile": GPU.relative_to(ROOT).as_posix()}
    build = service("head")["build"]
    assert (DOCKER / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == CPU
    assert set(build["args"]) == {argument.split("=")[0] for argument in texts(CPU, "ARG")[1:]}


def test_all_nodes_share_the_run_folder_of_the_image():
    runs = Path(texts(CPU, "WORKDIR")[-1]) / "runs"
    assert any(str(runs) in text for text in texts(CPU, "RUN"))  # made there, with its owner
    for name in BASE["services"]:
        assert service(name)["volumes"] == [f"runs:{runs}"]
    assert "runs" in BASE["volumes"]


def test_object_store_fits_into_shared_memory():
    for name in BASE["services"]:
        gigabytes = int(service(name)["shm_size"].removesuffix("gb"))
        assert int(service(name)["environment"]["SWEEP_OBJECT_STORE"]) < gigabytes * 1024**3


def test_roles_and_how_they_stop():
    assert service("head")["command"][0] == "head"
    assert service("worker")["command"][0] == "worker"
    assert service("sweep")["command"] == ["run", "spaces/grpo.yaml", "--address", "head:6379"]
    assert service("sweep")["command"][-1] == service("worker")["environment"]["SWEEP_HEAD"]
    assert {name: service(name)["stop_signal"] for name in BASE["services"]} == {
        "head": "SIGTERM",
        "worker": "SIGTERM",
        "sweep": "SIGINT",  # the signal that the driver understands
    }
    assert all(service(name)["init"] is True for name in BASE["services"])


def test_gpu_overlay_changes_the_image_and_the_worker_only():
    assert {name: set(settings) for name, settings in OVERLAY["services"].items()} == {
        "head": {"image", "build"},
        "worker": {"image", "build", "command", "deploy"},
        "sweep": {"image", "build"},
    }
    worker = OVERLAY["services"]["worker"]
    assert worker["deploy"]["replicas"] == 1
    assert worker["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    ]
    assert worker["command"][0] == "worker"
    assert not any(word.startswith("--num-gpus") for word in worker["command"])  # Ray counts them
