"""Starts the server on a connected Ray, and ends it when it is told to."""

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib import import_module
from types import FrameType, ModuleType
from typing import NamedTuple

from kinoray.cluster.serving.service import Serving
from kinoray.cluster.session import cluster_address
from kinoray.errors import ResourceError
from kinoray.site import Allocation, Site

APPLICATION = "kinoray"
MAX_ONGOING = 1000
"""Requests that Ray Serve hands to a replica. Our own, much lower limit answers in JSON, and before the body is read:
what waits in Serve's queue is read into the memory of its proxy, however large it is."""
DRAIN_SECONDS = 30.0
HEALTH_SECONDS = 5.0
"""Between looks at a replica; Ray Serve replaces it at the third in a row that fails."""
BACKSTOP_SECONDS = 15.0
"""After which Serve ends a request that we did not."""


class Endpoint(NamedTuple):
    """Where the server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def ray_serve() -> ModuleType:
    """Ray Serve, imported.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        return import_module("ray.serve")
    except ImportError as error:
        raise ResourceError(
            f"serving: Ray Serve cannot be imported here ({str(error).splitlines()[0]}); install Kinoray with its "
            "extra: pip install 'kinoray[serve]'"
        ) from error


def check_port(endpoint: Endpoint) -> None:
    """Raise a ResourceError where this machine cannot listen there."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    try:
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(endpoint)
    except OSError as error:
        raise ResourceError(
            f"--host {endpoint.host} --port {endpoint.port}: cannot listen there ({error.strerror}); take another"
        ) from error


def serve(
    serving: Serving,
    site: Site,
    allocation: Allocation,
    endpoint: Endpoint,
    on_ready: Callable[[], None],
) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that are being answered then, are.

    Args:
        serving: what replicas are told, all but their threads.
        site: on what.
        allocation: of it; a worker is a replica.
        endpoint: where to listen.
        on_ready: called when requests are taken.

    Raises:
        ResourceError: Ray Serve runs on the cluster already, or the replicas do not start.
    """
    ray_serving = ray_serve()
    from kinoray.cluster.serving.replica import Replica

    _check_unused(ray_serving, site)
    deployment = ray_serving.deployment(
        name=APPLICATION,
        num_replicas=allocation.num_workers,
        ray_actor_options={
            "num_cpus": allocation.reserved_cpus_per_worker,
            "num_gpus": allocation.gpus_per_worker,
        },
        max_ongoing_requests=MAX_ONGOING,
        max_queued_requests=MAX_ONGOING,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=min(DRAIN_SECONDS, serving.limits.seconds),
        health_check_period_s=HEALTH_SECONDS,
        max_constructor_retry_count=1,
    )(Replica)
    told = replace(
        serving,
        model_threads=allocation.threads_per_worker,
        decode_threads=max(1, round(allocation.decode_cpus_per_worker)),
    )
    quiet = {"log_level": "ERROR", "enable_access_log": False}
    logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
    try:
        ray_serving.start(
            proxy_location="HeadOnly",
            http_options={
                "host": endpoint.host,
                "port": endpoint.port,
                "request_timeout_s": serving.limits.seconds + BACKSTOP_SECONDS,
            },
            logging_config=quiet,
        )
        try:
            ray_serving.run(deployment.bind(told), name=APPLICATION, logging_config=quiet)
        except RuntimeError as error:
            problem = ResourceError(f"serving: the replicas do not start: {_reason(ray_serving) or error}")
            problem.at_work = True
            raise problem from error
        with _stop_asked() as asked:
            on_ready()
            asked.wait()
            ray_serving.delete(APPLICATION)  # waits for requests that are being answered
    finally:
        if cluster_address(site) is not None:  # a private Ray ends as a whole
            ray_serving.shutdown()


def _check_unused(ray_serving: ModuleType, site: Site) -> None:
    """What is served on a cluster by others would be ended with ours."""
    status = ray_serving.status()
    if status.proxies or status.applications:
        raise ResourceError(
            f"site.address: Ray Serve runs already on the cluster at {cluster_address(site)}; end it with "
            "`serve shutdown`, or serve from a cluster of its own"
        )


def _reason(ray_serving: ModuleType) -> str:
    """The last line of what the replicas' start ended with."""
    application = ray_serving.status().applications.get(APPLICATION)
    deployments = application.deployments.values() if application is not None else ()
    lines = [line.strip() for deployment in deployments for line in deployment.message.splitlines() if line.strip()]
    return lines[-1] if lines else ""


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, instead of what they do elsewhere; a second one ends at once."""
    asked = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        restore()
