import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.errors import ClusterError
from sweep.settings.vlm import WorkerSettings
from sweep.vlm.pool.capacity import capacity_of, worker_count


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        ([{"CPU": 2}], 1, 0, 2),
        ([{"CPU": 3}, {"CPU": 3}], 2, 0, 2),  # not 3: a worker has one node
        ([{"CPU": 1}], 0.1, 0, 10),
        ([{"CPU": 16, "GPU": 1}], 1, 1, 1),
        ([{"CPU": 16, "GPU": 2}], 1, 0.4, 4),  # not 5: a fraction is of one GPU
        ([{"CPU": 16, "GPU": 2}], 1, 1 / 3, 6),
        ([{"CPU": 16, "GPU": 3}], 1, 2, 1),
        ([{"CPU": 2, "GPU": 8}], 1, 1, 2),
        ([{"CPU": 16}], 1, 1, 0),
        ([{"memory": 1.0}], 1, 0, 0),
        ([], 1, 0, 0),
    ],
)
def test_workers_that_fit(nodes, cpus, gpus, expected) -> None:
    assert capacity_of(nodes, cpus, gpus) == expected


@given(st.integers(1, 64), st.floats(0.1, 64), st.integers(0, 8), st.sampled_from([0, 0.1, 0.25, 0.5, 1, 2]))
def test_they_never_take_more_than_there_is(cpu, cpus, gpu, gpus) -> None:
    count = capacity_of([{"CPU": cpu, "GPU": gpu}], cpus, gpus)
    assert count * cpus <= cpu + 1e-3
    assert count * gpus <= gpu + 1e-3


def test_the_count_is_capped_by_the_capacity() -> None:
    nodes = [{"CPU": 4.0}]
    assert worker_count(WorkerSettings(), nodes) == 4
    assert worker_count(WorkerSettings(count=3), nodes) == 3
    assert worker_count(WorkerSettings(count=9), nodes) == 4


def test_no_capacity_says_what_was_asked_and_what_there_is() -> None:
    with pytest.raises(ClusterError, match=r"8 CPUs and 0\.5 GPUs, the largest node .* has 4 and 1") as caught:
        worker_count(WorkerSettings(cpus=8, gpus=0.5), [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 2.0}])
    assert "\n" not in str(caught.value)
