"""What KubeRay 1.6 takes as a RayCluster or a RayJob, for the tests here.

The fields are those of its API reference (the project ray-project/kuberay, Apache-2.0), written down anew: names and
types of what our files may use, and of the rest the names. What a pod is, say the schemas of Kubernetes itself, which
the package kubernetes-validate brings (MIT; the schemas come from Kubernetes, Apache-2.0).
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

KUBERNETES = "1.31"
"""A version that is neither the oldest nor the newest in use. Their pods differ in what our files do not ask for."""
Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
COUNT: Schema = {"type": "integer", "minimum": 0}
SWITCH: Schema = {"type": "boolean"}
ANY: Schema = {}


def _object(required: str = "", **properties: Schema) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


def _core(kind: str) -> Schema:
    return {"$ref": f"#/$defs/io.k8s.api.core.v1.{kind}"}


GROUP = {"resources": TEXTS, "labels": TEXTS, "rayStartParams": TEXTS, "template": _core("PodTemplateSpec")}
HEAD = _object("template", serviceType=TEXT, headService=_core("Service"), enableIngress=SWITCH, **GROUP)
WORKERS = _object(
    "groupName minReplicas maxReplicas template",
    groupName=TEXT, replicas=COUNT, minReplicas=COUNT, maxReplicas=COUNT, idleTimeoutSeconds=COUNT, numOfHosts=COUNT,
    suspend=SWITCH, scaleStrategy=_object(workersToDelete={"type": "array", "items": TEXT}), **GROUP,
)  # fmt: skip
CLUSTER = _object(
    "headGroupSpec",
    rayVersion=TEXT, headGroupSpec=HEAD, workerGroupSpecs={"type": "array", "items": WORKERS},
    authOptions=_object(mode={"enum": ["disabled", "token"]}, secretName=TEXT, enableK8sTokenAuth=SWITCH),
    enableInTreeAutoscaling=SWITCH, suspend=SWITCH, managedBy=TEXT, headServiceAnnotations=TEXTS,
    upgradeStrategy=_object(type={"enum": ["Recreate", "None"]}),
    autoscalerOptions=ANY, gcsFaultToleranceOptions=ANY,
)  # fmt: skip
JOB = _object(
    "",
    entrypoint=TEXT, submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    rayClusterSpec=CLUSTER, submitterPodTemplate=_core("PodTemplateSpec"), submitterConfig=_object(backoffLimit=COUNT),
    backoffLimit=COUNT, activeDeadlineSeconds=COUNT, preRunningDeadlineSeconds=COUNT, ttlSecondsAfterFinished=COUNT,
    shutdownAfterJobFinishes=SWITCH, suspend=SWITCH, runtimeEnvYAML=TEXT, jobId=TEXT, managedBy=TEXT,
    metadata=TEXTS, clusterSelector=TEXTS, entrypointResources=TEXT, entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"}, deletionStrategy=ANY,
)  # fmt: skip


@cache
def schema(kind: str) -> Schema:
    """JSON schema of a `RayCluster` or a `RayJob`, down to the last field of a container."""
    folder = resources.files("kubernetes_validate").joinpath(f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict")
    made = _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"}, kind={"const": kind},
        metadata={"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
        spec={"RayCluster": CLUSTER, "RayJob": JOB}[kind],
    )  # fmt: skip
    text = folder.joinpath("_definitions.json").read_text(encoding="utf-8")
    return made | {"$defs": json.loads(text)["$defs"]}
