"""How a cluster is shared between training and decoding."""

from pathlib import Path

import pytest

from kinoray.errors import ConfigError, ResourceError
from kinoray.site import Allocation, Capacity, Node, Site, allocate

CASES = {
    # site, (CPUs, GPUs, nodes) -> workers, CPUs and GPUs of each, CPUs that decode, threads of each that do, the phrase
    "1 CPU": ({}, (1, 0, 1), (1, 0.5, 0, 0.5, 1), "1 worker x (0.5 CPU + 1 decode thread)"),
    "2 CPUs": ({}, (2, 0, 1), (1, 1, 0, 1, 1), "1 worker x (1 CPU + 1 decode thread)"),
    "3 CPUs": ({}, (3, 0, 1), (1, 1, 0, 2, 2), "1 worker x (1 CPU + 2 decode threads)"),
    "4 CPUs": ({}, (4, 0, 1), (1, 2, 0, 2, 2), "1 worker x (2 CPUs + 2 decode threads)"),
    "16 CPUs": ({}, (16, 0, 1), (1, 8, 0, 8, 0), "1 worker x 8 CPUs + 8 decode CPUs"),
    "1 GPU": ({}, (16, 1, 1), (1, 1, 1, 15, 0), "1 worker x 1 GPU + 15 decode CPUs"),
    "1 GPU, 1 CPU": ({}, (1, 1, 1), (1, 0.5, 1, 0.5, 1), "1 worker x (1 GPU + 1 decode thread)"),
    "8 GPUs": ({}, (16, 8, 1), (8, 1, 1, 8, 1), "8 workers x (1 GPU + 1 decode thread)"),
    "8 GPUs, 4 CPUs": ({}, (4, 8, 1), (8, 0.25, 1, 2, 1), "8 workers x (1 GPU + 1 decode thread)"),
    "4 nodes": ({}, (16, 0, 4), (1, 4, 0, 12, 0), "1 worker x 4 CPUs + 12 decode CPUs"),
    "workers": ({"workers": 4}, (16, 0, 1), (4, 2, 0, 8, 2), "4 workers x (2 CPUs + 2 decode threads)"),
    "few CPUs": ({"workers": 2}, (2, 0, 1), (2, 0.5, 0, 1, 1), "2 workers x (0.5 CPU + 1 decode thread)"),
    "fewer workers than GPUs": ({"workers": 2}, (16, 8, 1), (2, 1, 1, 14, 0), "2 workers x 1 GPU + 14 decode CPUs"),
    "CPUs per worker": ({"cpus_per_worker": 3}, (4, 0, 1), (1, 3, 0, 1, 1), "1 worker x (3 CPUs + 1 decode thread)"),
    "shared GPU": ({"gpus_per_worker": 0.5}, (8, 1, 1), (2, 1, 0.5, 6, 3), "2 workers x (0.5 GPU + 3 decode threads)"),
    "large workers": ({"gpus_per_worker": 2}, (8, 8, 1), (4, 1, 2, 4, 1), "4 workers x (2 GPUs + 1 decode thread)"),
    "GPUs left idle": ({"gpus_per_worker": 0}, (4, 8, 1), (1, 2, 0, 2, 2), "1 worker x (2 CPUs + 2 decode threads)"),
    "decode CPUs": ({"decode_cpus": 3}, (4, 0, 1), (1, 1, 0, 3, 3), "1 worker x (1 CPU + 3 decode threads)"),
    "few decode CPUs": ({"decode_cpus": 1}, (16, 0, 1), (1, 15, 0, 1, 1), "1 worker x (15 CPUs + 1 decode thread)"),
    "little to decode": (
        {"decode_cpus": 0.25, "cpus_per_worker": 1.75},
        (2, 0, 1),
        (1, 1.75, 0, 0.25, 1),
        "1 worker x (1.75 CPUs + 1 decode thread)",
    ),
    "decode CPUs on other nodes": ({"decode_cpus": 4}, (8, 0, 2), (1, 4, 0, 4, 0), "1 worker x 4 CPUs + 4 decode CPUs"),
    "no threads": ({"decode_threads": 0}, (2, 0, 1), (1, 1, 0, 1, 0), "1 worker x 1 CPU + 1 decode CPU"),
    "threads and tasks": (
        {"decode_threads": 3},
        (16, 2, 1),
        (2, 1, 1, 14, 3),
        "2 workers x (1 GPU + 3 decode threads) + 8 decode CPUs",
    ),
    "more threads than we would take": (
        {"decode_threads": 15},
        (16, 1, 1),
        (1, 1, 1, 15, 15),
        "1 worker x (1 GPU + 15 decode threads)",
    ),
    "all given": (
        {"workers": 2, "cpus_per_worker": 1, "gpus_per_worker": 1, "decode_cpus": 4, "decode_threads": 1},
        (16, 8, 2),
        (2, 1, 1, 4, 1),
        "2 workers x (1 GPU + 1 decode thread) + 2 decode CPUs",
    ),
}


def cluster(cpus: float, gpus: float = 0, num_nodes: int = 1) -> Capacity:
    """A cluster of equal nodes."""
    return Capacity((Node(cpus / num_nodes, gpus / num_nodes),) * num_nodes)


@pytest.mark.parametrize(("values", "capacity", "expected", "phrase"), CASES.values(), ids=CASES)
def test_shares(values: dict, capacity: tuple, expected: tuple, phrase: str) -> None:
    found = allocate(Site(**values), cluster(*capacity))
    assert found == Allocation(*expected)
    assert found.describe() == phrase
    assert found.num_workers * found.cpus_per_worker + found.decode_cpus <= capacity[0]
    each = found.beside_cpus_per_worker + found.remote_cpus_per_worker
    assert each == pytest.approx(found.decode_cpus_per_worker)


def test_a_thread_beside_counts_as_a_cpu_of_its_worker() -> None:
    found = Allocation(num_workers=2, cpus_per_worker=1, gpus_per_worker=1, decode_cpus=7, decode_threads=2)
    assert found.reserved_cpus_per_worker == 3
    assert found.remote_cpus_per_worker == 1.5
    assert found.cpus_per_decode_task == 1


def test_a_thread_may_have_less_than_a_cpu() -> None:
    found = Allocation(num_workers=2, cpus_per_worker=0.5, gpus_per_worker=0, decode_cpus=1, decode_threads=1)
    assert (found.reserved_cpus_per_worker, found.remote_cpus_per_worker) == (1, 0)


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
    "threads without CPUs": (
        {"decode_threads": 2},
        (2, 0),
        "site.decode_threads: 2 beside each of 1 worker, 1 CPU decode for all; lower it or raise site.decode_cpus",
    ),
    "threads on another node": (
        {"decode_threads": 1, "cpus_per_worker": 4},
        (8, 0, 2),
        "site.decode_threads: 1 beside each of 1 worker, the cluster's nodes have room for 0 such workers; lower it",
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
    assert found.decode_threads or 0 < found.cpus_per_decode_task <= 1
    assert cluster(cpus).num_workers_that_fit(found.reserved_cpus_per_worker, 0) >= num_workers


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


def test_what_a_cluster_cannot_hold_says_who_wanted_it(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("storage: runs\nworkers: 4\n")
    site = Site.load(path, ["cpus_per_worker=1"])
    with pytest.raises(ResourceError) as caught:
        allocate(site, Capacity((Node(2),)))
    assert str(caught.value).endswith(f"or add nodes  [{path}:2, --set cpus_per_worker=1]")


@pytest.mark.parametrize("name", ["cpus_per_worker", "gpus_per_worker", "decode_cpus"])
def test_shares_below_what_ray_counts_are_refused(name):
    with pytest.raises(ConfigError, match=r"at least 0\.0001"):
        Site.load(None, [f"{name}=1e-320"])
    assert Site.load(None, ["gpus_per_worker=0"]).gpus_per_worker == 0


ELASTIC = {"workers": 4, "min_workers": 2, "cpus_per_worker": 1, "decode_cpus": 4}


@pytest.mark.parametrize(
    ("values", "capacity", "expected"),
    [
        ({}, (8, 0, 4), "4 workers x (1 CPU + 1 decode thread), elastic: 2 to 4 workers"),
        ({}, (6, 0, 3), "3 workers x (1 CPU + 1 decode thread), elastic: 2 to 4 workers"),
        ({}, (4, 0, 2), "2 workers x (1 CPU + 1 decode thread), elastic: 2 to 4 workers"),
        ({"decode_cpus": 2}, (3, 0, 1), "2 workers x (1 CPU + 1 decode thread), elastic: 2 to 4 workers"),
        (
            {"gpus_per_worker": 1, "decode_cpus": None},
            (24, 3, 3),
            "3 workers x 1 GPU + 21 decode CPUs, elastic: 2 to 4 workers",
        ),
    ],
)
def test_a_range_of_workers_is_as_many_as_fit(values: dict, capacity: tuple, expected: str) -> None:
    found = allocate(Site(**ELASTIC | values), cluster(*capacity))
    assert found.describe() == expected
    assert (found.workers_range, found.most_workers) == ((2, 4), 4)
    whole = allocate(Site(**ELASTIC | values), cluster(capacity[0] / found.num_workers * 4, capacity[1] and 4, 4))
    assert found.decode_cpus_per_worker == whole.decode_cpus_per_worker, "a worker has the same, however many there are"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_workers": 5}, "min_workers, got 5; it should be at most workers, got 4"),
        ({"workers": None}, "min_workers, got 2; it should be at most workers, got None"),
        (
            {"cpus_per_worker": None},
            "min_workers, got 2 without cpus_per_worker or gpus_per_worker; one of them should",
        ),
        ({"gpus_per_worker": 0, "cpus_per_worker": None}, "min_workers, got 2 without cpus_per_worker or"),
    ],
)
def test_a_range_of_workers_says_how_many_and_how_large(values: dict, message: str) -> None:
    words = [f"{name}={'null' if value is None else value}" for name, value in (ELASTIC | values).items()]
    with pytest.raises(ConfigError) as refused:
        Site.load(None, words)
    assert message in str(refused.value)


def test_fewer_nodes_than_the_fewest_workers_need_are_refused() -> None:
    with pytest.raises(ResourceError) as refused:
        allocate(Site.load(None, [f"{name}={value}" for name, value in ELASTIC.items()]), cluster(3))
    message = str(refused.value)
    assert message.startswith(
        "site.min_workers, got 2: site: 2 workers x 1 CPU = 2 CPUs to train and 2 to decode do not"
    )
    assert message.endswith("[--set min_workers=2]")
