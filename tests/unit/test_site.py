"""How a cluster is shared between training and decoding."""

from pathlib import Path

import pytest

from kinoray.errors import ConfigError, ResourceError
from kinoray.site import Allocation, Capacity, Node, Site, allocate

CASES = {
    # site, (CPUs, GPUs, nodes) -> workers, CPUs and GPUs of each, CPUs that decode, CPUs of a decode task, the phrase
    "1 CPU": ({}, (1, 0, 1), (1, 0.5, 0, 0.5, 0.5), "1 worker x 0.5 CPU + 0.5 decode CPU"),
    "2 CPUs": ({}, (2, 0, 1), (1, 1, 0, 1, 1), "1 worker x 1 CPU + 1 decode CPU"),
    "3 CPUs": ({}, (3, 0, 1), (1, 1, 0, 2, 1), "1 worker x 1 CPU + 2 decode CPUs"),
    "4 CPUs": ({}, (4, 0, 1), (1, 2, 0, 2, 1), "1 worker x 2 CPUs + 2 decode CPUs"),
    "16 CPUs": ({}, (16, 0, 1), (1, 8, 0, 8, 1), "1 worker x 8 CPUs + 8 decode CPUs"),
    "1 GPU": ({}, (16, 1, 1), (1, 1, 1, 15, 1), "1 worker x 1 GPU + 15 decode CPUs"),
    "1 GPU, 1 CPU": ({}, (1, 1, 1), (1, 0.5, 1, 0.5, 0.5), "1 worker x 1 GPU + 0.5 decode CPU"),
    "8 GPUs": ({}, (16, 8, 1), (8, 1, 1, 8, 1), "8 workers x 1 GPU + 8 decode CPUs"),
    "8 GPUs, 4 CPUs": ({}, (4, 8, 1), (8, 0.25, 1, 2, 0.25), "8 workers x 1 GPU + 2 decode CPUs"),
    "4 nodes": ({}, (16, 0, 4), (1, 4, 0, 12, 1), "1 worker x 4 CPUs + 12 decode CPUs"),
    "workers": ({"workers": 4}, (16, 0, 1), (4, 2, 0, 8, 1), "4 workers x 2 CPUs + 8 decode CPUs"),
    "workers, few CPUs": ({"workers": 2}, (2, 0, 1), (2, 0.5, 0, 1, 0.5), "2 workers x 0.5 CPU + 1 decode CPU"),
    "fewer workers than GPUs": ({"workers": 2}, (16, 8, 1), (2, 1, 1, 14, 1), "2 workers x 1 GPU + 14 decode CPUs"),
    "CPUs per worker": ({"cpus_per_worker": 3}, (4, 0, 1), (1, 3, 0, 1, 1), "1 worker x 3 CPUs + 1 decode CPU"),
    "shared GPU": ({"gpus_per_worker": 0.5}, (8, 1, 1), (2, 1, 0.5, 6, 1), "2 workers x 0.5 GPU + 6 decode CPUs"),
    "large workers": ({"gpus_per_worker": 2}, (8, 8, 1), (4, 1, 2, 4, 1), "4 workers x 2 GPUs + 4 decode CPUs"),
    "GPUs left idle": ({"gpus_per_worker": 0}, (4, 8, 1), (1, 2, 0, 2, 1), "1 worker x 2 CPUs + 2 decode CPUs"),
    "decode CPUs": ({"decode_cpus": 3}, (4, 0, 1), (1, 1, 0, 3, 1), "1 worker x 1 CPU + 3 decode CPUs"),
    "few decode CPUs": ({"decode_cpus": 1}, (16, 0, 1), (1, 15, 0, 1, 1), "1 worker x 15 CPUs + 1 decode CPU"),
    "little to decode": (
        {"decode_cpus": 0.25, "cpus_per_worker": 1.75},
        (2, 0, 1),
        (1, 1.75, 0, 0.25, 0.25),
        "1 worker x 1.75 CPUs + 0.25 decode CPU",
    ),
    "all given": (
        {"workers": 2, "cpus_per_worker": 1, "gpus_per_worker": 1, "decode_cpus": 4},
        (16, 8, 2),
        (2, 1, 1, 4, 1),
        "2 workers x 1 GPU + 4 decode CPUs",
    ),
}


def cluster(cpus: float, gpus: float = 0, num_nodes: int = 1) -> Capacity:
    """A cluster of equal nodes."""
    return Capacity((Node(cpus / num_nodes, gpus / num_nodes),) * num_nodes)


@pytest.mark.parametrize(("values", "capacity", "expected", "phrase"), CASES.values(), ids=CASES)
def test_shares(values: dict, capacity: tuple, expected: tuple, phrase: str) -> None:
    found = allocate(Site(**values), cluster(*capacity))
    assert found == Allocation(*expected[:4])
    assert found.cpus_per_decode_task == expected[4]
    assert found.describe() == phrase
    assert found.num_workers * found.cpus_per_worker + found.decode_cpus <= capacity[0]


REFUSED = {
    "nothing left to decode": (
        {"workers": 2, "cpus_per_worker": 1},
        (2, 0),
        "site: 2 workers x 1 CPU = 2 CPUs to train and at least 0.5 to decode do not fit the cluster's 2 CPUs; lower",
    ),
    "too many workers": ({"workers": 4, "cpus_per_worker": 2}, (4, 0), "4 workers x 2 CPUs = 8 CPUs to train"),
    "too much decoding": (
        {"decode_cpus": 3, "cpus_per_worker": 2},
        (4, 0),
        "1 worker x 2 CPUs = 2 CPUs to train and 3 to decode do not fit the cluster's 4 CPUs",
    ),
    "all decoding": ({"decode_cpus": 5}, (4, 0), "and 5 to decode do not fit the cluster's 4 CPUs"),
    "too few GPUs": (
        {"workers": 4},
        (16, 2),
        "site: 4 workers x 1 GPU = 4 GPUs, the cluster has 2; lower site.workers or site.gpus_per_worker",
    ),
    "a worker larger than a node": (
        {"cpus_per_worker": 6},
        (16, 0, 4),
        "site: 1 worker x 6 CPUs, the cluster's 4 nodes have room for 0; a worker lies on one node",
    ),
    "GPUs spread over nodes": (
        {"gpus_per_worker": 2},
        (64, 8, 8),
        "site: 4 workers x 1 CPU and 2 GPUs, the cluster's 8 nodes have room for 0",
    ),
    "no GPU": ({"gpus_per_worker": 1}, (16, 0), "1 worker x 1 GPU = 1 GPU, the cluster has 0"),
}


@pytest.mark.parametrize(("values", "capacity", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_the_numbers(values: dict, capacity: tuple, message: str) -> None:
    with pytest.raises(ResourceError) as refused:
        allocate(Site(**values), cluster(*capacity))
    assert message in str(refused.value)


@pytest.mark.parametrize("num_workers", range(1, 33))
@pytest.mark.parametrize("cpus", [1, 3, 7, 16])
def test_workers_that_are_left_to_us_always_fit(cpus: int, num_workers: int) -> None:
    found = allocate(Site(workers=num_workers), cluster(cpus))
    assert found.num_workers * found.cpus_per_worker + found.decode_cpus <= cpus
    assert found.decode_cpus_per_worker == found.decode_cpus / num_workers
    assert 0 < found.cpus_per_decode_task <= 1


@pytest.mark.parametrize(("cpus", "threads"), [(0.25, 1), (1, 1), (2.5, 2), (8, 8)])
def test_a_worker_has_a_thread_per_whole_cpu(cpus: float, threads: int) -> None:
    assert Allocation(1, cpus, 0, 1).threads_per_worker == threads


def test_a_site_file_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("address: auto\nworkers: 4\nstorage: s3://bucket/runs\n")
    site = Site.load(file, ["workers=2", "max_failures=3"])
    assert (site.address, site.workers, site.max_failures) == ("auto", 2, 3)
    assert site.storage_path() == "s3://bucket/runs"
    assert site.flat()["workers"] == 2
    assert Site.load(None) == Site()


def test_all_that_is_wrong_is_told(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text("workrs: 4\nmax_failures: -2\n")
    with pytest.raises(ConfigError) as wrong:
        Site.load(file, ["workers=0"])
    message = str(wrong.value)
    assert "workrs" in message
    assert "did you mean 'workers'?" in message
    assert "max_failures" in message
    assert "--set workers=0" in message


def test_relative_storage_starts_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Site(storage="runs").storage_path() == str(tmp_path / "runs")
    assert Site(storage=str(tmp_path / "x")).storage_path() == str(tmp_path / "x")
