"""Connecting to Ray: a private one on this machine, or a cluster's; quiet, and with the package on every worker."""

import logging
import os
import secrets
import socket
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError

import kinoray
from kinoray.errors import ConfigError, ResourceError
from kinoray.site import Capacity, Node, Site, job_environment

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise each print of a worker appears twice.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # How often the controller takes up reports; at its default of 2 s an epoch of a small run waits for it.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # How long a group that failed waits for its members to leave, of which one may never answer; Ray's own is 30 s.
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",
}
QUIET_ELASTIC = {
    # How long a group of workers waits for room before Ray looks anew how many have room; it does so without end.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",
}
QUIET_ALONE = {
    # A process that asks whether nodes will be taken away: this machine will not.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
PORT_SECONDS = 10
QUESTION = "/ray.rpc.NodeInfoGcsService/CheckAlive"
ANSWER_SECONDS = 5
REPORT_LENGTH = 160
logger = logging.getLogger(__name__)
NOISY_LOGGERS = ("ray", "ray.data", "ray.train", "ray.tune")


@contextmanager
def session(site: Site) -> Iterator[None]:
    """A connection to the site's Ray; leaving it ends a private Ray.

    Raises:
        ResourceError: no cluster answers at the address.
        ConfigError: a package to ship is no folder.
    """
    if not ray.is_initialized():
        _connect(site)
    try:
        yield
    finally:
        ray.shutdown()


def capacity_of(site: Site) -> Capacity:
    """What the site has. A cluster is asked, so this connects to it; this machine is counted without starting Ray.

    Raises:
        ResourceError: no cluster answers at the address.
    """
    if cluster_address(site) is None:
        return Capacity((Node(site.local_cpus or num_cpus(), num_gpus()),))
    if not ray.is_initialized():
        _connect(site)
    return nodes_to_stay()


def nodes_to_stay() -> Capacity:
    """What the connected cluster has, less the nodes that are going to be taken away."""
    # Private, as is Ray Train's use of it.
    going = ray._private.state.state.get_draining_nodes()  # noqa: SLF001
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in going]
    return Capacity(tuple(Node(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes))


def cluster_address(site: Site) -> str | None:
    """The address of the cluster to join: the site's, else that of the job this process runs in; None: no cluster."""
    return site.address or os.environ.get("RAY_ADDRESS")


def num_cpus() -> int:
    """CPUs that this process may use: a container's quota and the affinity mask count."""
    from ray._private.utils import get_num_cpus

    allowed = int(get_num_cpus())
    return min(allowed, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else allowed


def num_gpus() -> int:
    """GPUs that a Ray on this machine would find."""
    from ray._private.accelerators import NvidiaGPUAcceleratorManager

    visible = NvidiaGPUAcceleratorManager.get_current_process_visible_accelerator_ids()
    found = int(NvidiaGPUAcceleratorManager.get_current_node_num_accelerators())
    return found if visible is None else min(found, len(visible))


def _connect(site: Site) -> None:
    address = cluster_address(site)
    quiet = settings_of(site) | (QUIET_ALONE if address is None else {})
    os.environ.update({key: value for key, value in quiet.items() if key not in os.environ})
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    if address is None:
        _start_local(site)
    else:
        _join(address, site)
    for name in NOISY_LOGGERS:  # again, because connecting sets up logging anew
        logging.getLogger(name).setLevel(logging.ERROR)
    _shorten_reports()
    _warn_if_open(ray.get_runtime_context().gcs_address)


def _start_local(site: Site) -> None:
    # Ray locks a new cluster with a token, since its servers listen on all interfaces. Given none it would write one to
    # the home folder, which locks later `ray job submit`s out of clusters started without it; so it gets its own.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    environment = {"env_vars": {"PYTHONPATH": _python_path(site.packages)}}
    try:
        ray.init(
            address="local",
            num_cpus=site.local_cpus or num_cpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=environment,
        )
    except Exception as error:  # where a process does not come up in time, Ray raises a plain one
        ray.shutdown()
        problem = ResourceError(
            f"site: Ray does not start on this machine: {first_line(error)}; it may be too busy, or out of memory or "
            "of room in its temporary folder: try again when it has less to do, or name a cluster by site.address"
        )
        problem.at_work = True
        raise problem from error


def _join(address: str, site: Site) -> None:
    environment = shipped_environment(site, job_environment())
    try:
        _check_port(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment)
    except Exception as error:  # where the cluster answers too late, Ray raises a plain one
        ray.shutdown()
        cure = "start one with `ray start --head`, or leave the address out to use this machine"
        if isinstance(error, AuthenticationError):
            cure = "give this shell the cluster's token: `export RAY_AUTH_MODE=token`, see docs/cluster.md"
        raise ResourceError(
            f"site.address: no Ray cluster to join at {address}: {first_line(error)}; {cure}"
        ) from error


def first_line(error: Exception) -> str:
    """What an error says, shortly."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _shorten_reports() -> None:
    """Tell in a line each what Ray's nodes report, such as that one of them died.

    Ray prints it to standard output, with the last 20 lines of a node's log; there is no setting for it.
    """
    import ray._private.worker as internals

    told: set[str] = set()

    def tell(report: Mapping[str, Any], ignore_prefix: bool) -> None:
        del ignore_prefix
        for text in report["lines"]:
            line = textwrap.shorten(text.strip().partition("\n")[0], REPORT_LENGTH, placeholder=" ...")
            if line not in told:
                told.add(line)
                logger.warning("Ray: %s", line)

    internals.print_to_stdstream = tell


def _warn_if_open(gcs_address: str) -> None:
    """Say so where the cluster lets in whoever reaches it, as one that was started without a token does."""
    if answers_strangers(gcs_address):
        logger.warning(
            "the Ray cluster at %s asks for no token: whoever reaches its ports, which listen on all interfaces, can "
            "run any code on it; start it with RAY_AUTH_MODE=token, see docs/cluster.md",
            gcs_address,
        )


def answers_strangers(gcs_address: str) -> bool:
    """Whether a cluster's control service answers a question that comes without a token.

    Asking is the only way to know: to a process of ours that has a token, clusters with and without one look alike.
    """
    grpc = import_module("grpc")
    try:
        with grpc.insecure_channel(gcs_address, options=(("grpc.enable_http_proxy", 0),)) as channel:
            channel.unary_unary(QUESTION)(b"", timeout=ANSWER_SECONDS)
    except grpc.RpcError:
        return False
    return True


def _check_port(address: str) -> None:
    """Raises OSError where nothing listens at ``host:port``; Ray itself would try for two minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        with socket.create_connection((host, int(port)), timeout=PORT_SECONDS):
            pass


def settings_of(site: Site) -> dict[str, str]:
    """Ray's own settings, as environment variables, on this process and on all workers."""
    return QUIET if site.min_workers is None else QUIET | QUIET_ELASTIC


def shipped_environment(site: Site, job: Mapping[str, Any]) -> dict[str, Any]:
    """What workers get from us on a cluster, without the keys that the job has set: Ray refuses a key set twice."""
    environment: dict[str, Any] = {}
    if "py_modules" not in job:
        environment["py_modules"] = [str(folder) for folder in _package_folders(site.packages)]
    given = job.get("env_vars") or {}
    variables = {key: value for key, value in settings_of(site).items() if key not in given}
    if variables:
        environment["env_vars"] = variables
    return environment


def _python_path(packages: tuple[str, ...]) -> str:
    """For workers on this machine: the folders that the packages lie in."""
    parents = [str(folder.parent) for folder in _package_folders(packages)]
    return os.pathsep.join([*parents, *filter(None, [os.environ.get("PYTHONPATH")])])


def _package_folders(packages: tuple[str, ...]) -> list[Path]:
    folders = [Path(kinoray.__file__).parent, *(Path(package).resolve() for package in packages)]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"site.packages: {folder} is no folder; give the folder of a Python package")
    return folders
