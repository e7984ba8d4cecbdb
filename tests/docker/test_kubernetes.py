"""The files for KubeRay: what its operator and Kubernetes take, with the token, without more rights than needed."""

from __future__ import annotations

import copy
import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from tests.docker.images import DOCKER, ROOT, texts
from tests.docker.kuberay import KUBERNETES, schema

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="it comes with the extra `dev`")

FOLDER = DOCKER / "kubernetes"
STORAGE, CLUSTER, JOB = (
    yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    for name in ("storage", "raycluster", "rayjob")
)  # fmt: skip
GROUPS = {group["groupName"]: group for group in CLUSTER["spec"]["workerGroupSpecs"]}


def pods() -> Iterator[dict[str, Any]]:
    """Specifications of all pods, the one that hands in the job included."""
    yield JOB["spec"]["submitterPodTemplate"]["spec"]
    yield CLUSTER["spec"]["headGroupSpec"]["template"]["spec"]
    yield from (group["template"]["spec"] for group in GROUPS.values())


def check(document: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema(document["kind"])).validate(document)


@pytest.mark.parametrize("document", [CLUSTER, JOB], ids=lambda found: found["kind"])
def test_kuberay_takes_the_file(document):
    check(document)


def test_kubernetes_takes_the_volume():
    assert kubernetes_validate.validate(STORAGE, KUBERNETES, strict=True) == KUBERNETES
    assert STORAGE["spec"]["accessModes"] == ["ReadWriteMany"]  # every pod writes checkpoints


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("authOption",), {"mode": "token"}),
        (("authOptions", "mode"), "tokens"),
        (("headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("headGroupSpec", "template", "spec", "container"), []),
        (("headGroupSpec", "template", "spec", "containers", 0, "livenessProbe", "httpGet", "prot"), 1),
        (("workerGroupSpecs", 1, "template", "spec", "tolerations", 0, "effect"), 7),
        (("workerGroupSpecs", 1, "replica"), 1),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, tuple) else "",
)
def test_a_mistake_in_the_file_would_be_seen(path, wrong):
    planted = copy.deepcopy(CLUSTER)
    place = planted["spec"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    with pytest.raises(jsonschema.ValidationError):
        check(planted)


def test_the_jobs_cluster_is_the_one_that_stays():
    assert JOB["spec"]["rayClusterSpec"] == CLUSTER["spec"]


def test_all_pods_are_one_image_with_the_ray_that_is_named():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    images = {container["image"] for pod in pods() for container in pod["containers"]}
    assert images == {f"registry.example/demonstration-sweep:{version}-gpu"}
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned and CLUSTER["spec"]["rayVersion"] == pinned[1]


def test_token_authentication_is_on_and_no_token_is_in_the_text():
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}
    for file in FOLDER.glob("*.yaml"):
        assert not re.search(r"RAY_AUTH_TOKEN|[0-9a-f]{32}", file.read_text(encoding="utf-8")), file.name


def test_pods_have_no_more_rights_than_they_need():
    user, group = map(int, texts("USER")[0].split(":"))
    for pod in pods():
        asked = pod["securityContext"]
        assert (asked["runAsUser"], asked["runAsGroup"], asked["fsGroup"]) == (user, group, group)
        assert asked["runAsNonRoot"] is True and asked["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
            assert container["securityContext"] == rights
            assert container["resources"]["limits"] == container["resources"]["requests"]


def test_nodes_share_the_run_folder_of_the_image_and_the_job_uses_it():
    runs = f"{texts('WORKDIR')[-1]}/runs"
    _, *nodes = pods()
    for pod in nodes:
        (container,) = pod["containers"]
        assert container["volumeMounts"] == [{"name": "runs", "mountPath": runs}]
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == STORAGE["metadata"]["name"]
    words = shlex.split(JOB["spec"]["entrypoint"])
    assert words[:5] == ["python", "-m", "sweep", "run", "spaces/grpo.yaml"]
    # With --resume the next try, in a new cluster, goes on with the run.
    assert words[5:] == ["--name", "grpo-1", "--runs", runs, "--address", "auto", "--resume"]
    # No character of the shell is in it: it passes through several of them on its way.
    assert re.fullmatch(r"[\w./ -]+", JOB["spec"]["entrypoint"])


def test_trials_go_to_cores_and_the_model_to_gpus():
    head = CLUSTER["spec"]["headGroupSpec"]["rayStartParams"]
    assert (head["num-cpus"], head["num-gpus"]) == ("0", "0")
    limits = {name: group["template"]["spec"]["containers"][0]["resources"]["limits"] for name, group in GROUPS.items()}
    assert {name for name, found in limits.items() if "nvidia.com/gpu" in found} == {"gpu"}
    for name, group in GROUPS.items():
        assert group["labels"] == {"pool": name}
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]  # nothing scales by itself
