"""The compose file: nothing open to the network, nothing without the token, one image for all nodes."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docker.images import DOCKER, DOCKERFILE, ROOT, program, texts

FILE = DOCKER / "compose.yaml"
BASE = yaml.safe_load(FILE.read_text(encoding="utf-8"))
NODES = ("head", "worker", "gpu-worker", "sweep")
MONITORING = ("prometheus", "grafana")
EACH_NODE = pytest.mark.parametrize("name", NODES)
EACH_SERVICE = pytest.mark.parametrize("name", NODES + MONITORING)


def service(name: str) -> dict:
    return BASE["services"][name]


def composed(*profiles: str, **environment: str) -> dict:
    """What Compose itself makes of the file. It needs no engine for that."""
    options = [word for profile in profiles for word in ("--profile", profile)]
    line = [program("docker-compose"), "--file", str(FILE), *options, "config", "--format", "json"]
    made = subprocess.run(line, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, timeout=60)
    assert (made.returncode, made.stderr) == (0, b"")
    return json.loads(made.stdout)["services"]


def test_services_are_those_that_are_tested_here():
    assert set(BASE["services"]) == set(NODES + MONITORING)


def test_compose_takes_the_file_and_starts_what_its_profiles_ask_for():
    assert set(composed()) == {"head", "worker", "sweep"}
    assert set(composed("monitoring")) == {"head", "worker", "sweep", *MONITORING}
    every = composed("gpu", "monitoring", SWEEP_VARIANT="gpu", SWEEP_WORKERS="0", SWEEP_GPU_WORKER_CPUS="6")
    assert set(every) == set(NODES + MONITORING)
    assert {every[name]["image"].rpartition("-")[2] for name in NODES} == {"gpu"}
    assert {every[name]["build"]["args"]["VARIANT"] for name in NODES} == {"gpu"}
    assert every["worker"]["deploy"]["replicas"] == 0
    assert every["gpu-worker"]["command"] == ["worker", "--num-cpus=6", "--labels=pool=gpu"]


@EACH_SERVICE
def test_published_ports_are_on_localhost(name):
    for port in service(name).get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+|\$\{\w+:-\d+\}):\d+", port), port
    assert "network_mode" not in service(name)
    assert service(name)["networks"] == ["cluster"]


def test_only_the_dashboard_the_metrics_and_their_pages_are_published():
    published = {name: [port.rsplit(":", 1)[1] for port in service(name).get("ports", [])] for name in BASE["services"]}
    monitoring = {"prometheus": ["9090"], "grafana": ["3000"]}
    assert published == {"head": ["8265"], "worker": [], "gpu-worker": [], "sweep": ["8080"], **monitoring}


@EACH_NODE
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


@EACH_NODE
def test_container_has_no_more_rights_than_it_needs(name):
    settings = service(name)
    assert settings["user"] == texts("USER")[0]
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "pid", "ipc", "devices"} & set(settings)


@EACH_NODE
def test_health_check_is_the_images_and_others_wait_for_it(name):
    check = service(name)["healthcheck"]
    assert 'CMD ["entrypoint", "health"]' in texts("HEALTHCHECK")[0]
    assert check["test"] == ["CMD", "entrypoint", "health"]
    workers = {"worker", "gpu-worker"}
    waits = {"head": set(), "sweep": {"head"} | workers}.get(name, {"head"})
    depends = service(name).get("depends_on", {})
    assert {other: found["condition"] for other, found in depends.items()} == dict.fromkeys(waits, "service_healthy")
    # A service of a profile is waited for only where the profile is asked for.
    assert {other for other, found in depends.items() if not found.get("required", True)} == waits - {"head", "worker"}


def test_all_nodes_are_one_image_built_from_one_file():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for name in NODES:
        assert service(name)["image"] == f"demonstration-sweep:{version}-${{SWEEP_VARIANT:-cpu}}"
        assert service(name)["build"] == service("head")["build"]
    build = service("head")["build"]
    assert (DOCKER / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == DOCKERFILE
    settable = {argument.split("=")[0] for argument in texts("ARG")} - {"PYTHON_IMAGE"}
    assert set(build["args"]) == settable


def test_all_nodes_share_the_run_folder_of_the_image():
    runs = Path(texts("WORKDIR")[-1]) / "runs"
    assert any(str(runs) in text for text in texts("RUN"))  # made there, with its owner
    for name in NODES:
        assert service(name)["volumes"] == [f"runs:{runs}"]
    assert "runs" in BASE["volumes"]


def test_object_store_fits_into_shared_memory():
    for name in NODES:
        gigabytes = int(service(name)["shm_size"].removesuffix("gb"))
        assert int(service(name)["environment"]["SWEEP_OBJECT_STORE"]) < gigabytes * 1024**3


def test_roles_and_how_they_stop():
    assert service("head")["command"][0] == "head"
    assert service("worker")["command"][0] == service("gpu-worker")["command"][0] == "worker"
    assert service("sweep")["command"] == ["run", "spaces/grpo.yaml", "--address", "head:6379"]
    assert service("sweep")["command"][-1] == service("worker")["environment"]["SWEEP_HEAD"]
    assert {name: service(name)["stop_signal"] for name in NODES} == {
        "head": "SIGTERM",
        "worker": "SIGTERM",
        "gpu-worker": "SIGTERM",
        "sweep": "SIGINT",  # the signal that the driver understands
    }
    assert all(service(name)["init"] is True for name in NODES)


def test_only_the_gpu_worker_is_given_gpus_and_counts_them_itself():
    devices = service("gpu-worker")["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert [name for name in NODES if "resources" in service(name).get("deploy", {})] == ["gpu-worker"]
    assert "--num-gpus=0" in service("head")["command"] and "--num-gpus=0" in service("worker")["command"]
    assert not any(word.startswith("--num-gpus") for word in service("gpu-worker")["command"])
