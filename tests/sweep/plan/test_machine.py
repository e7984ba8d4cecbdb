"""What `validate` says of a machine that is too small, without looking at the machine that runs the test."""

from __future__ import annotations

from sweep.plan.machine import Machine, lacking
from sweep.space import SearchSpace

VLM = {"model": {"path": "demo"}, "workers": {"cpus": 4, "gpus": 1}}


def space(**sections: object) -> SearchSpace:
    return SearchSpace.model_validate({"name": "small", **sections})


def test_a_machine_that_is_large_enough_gets_no_warning() -> None:
    wanted = space(resources={"cpus": 2, "gpus": 0.5})
    assert list(lacking(wanted, Machine(cpus=2, gpus=1, cards=1))) == []


def test_a_trial_that_wants_a_gpu_where_there_is_none() -> None:
    (warning,) = lacking(space(resources={"gpus": 1}), Machine(cpus=2, gpus=0, cards=0))
    assert warning.startswith("resources: a trial asks for 1 CPUs and 1 GPUs, and this machine has 2 CPUs and no GPU")
    assert "--address" in warning


def test_a_card_that_torch_cannot_use_is_named() -> None:
    (warning,) = lacking(space(resources={"gpus": 1}), Machine(cpus=2, gpus=0, cards=8))
    assert "the NVIDIA driver lists 8; torch" in warning


def test_workers_count_only_where_the_model_is_asked() -> None:
    tiny = Machine(cpus=1, gpus=0, cards=0)
    items = {"demo": {}}
    assert list(lacking(space(vlm=VLM), tiny)) == []
    (warning,) = lacking(space(vlm=VLM, items=items, evaluation={}), tiny)
    assert warning.startswith("vlm.workers: a worker of the vision-language model asks for 4 CPUs and 1 GPUs")


def test_labels_that_only_nodes_of_a_cluster_have() -> None:
    (warning,) = lacking(space(resources={"labels": {"pool": "cpu"}}), Machine(cpus=2, gpus=0, cards=0))
    assert warning.startswith("resources.labels: a trial asks for pool=cpu, and this machine has no labels")
    assert warning.endswith("or with --set resources.labels={}")


def test_this_machine_has_a_core() -> None:
    assert Machine.here().cpus >= 1
