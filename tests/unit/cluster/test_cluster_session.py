"""Ray that does not start, does not answer, or lets anyone in, without a real Ray."""

import inspect
import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import pytest
from ray.exceptions import AuthenticationError, RpcError

from kinoray.cluster import session as room
from kinoray.cluster.session import QUESTION, answers_strangers, session
from kinoray.errors import ConfigError, ResourceError
from kinoray.site import Site

TIMED_OUT = "The current node timed out during startup. This could happen because\nthe raylet failed to startup."


class FakeRay:
    """Stands in for the module: ``init`` raises what it is told to."""

    def __init__(self, problem: Exception | None = None, gcs_address: str = "127.0.0.1:9") -> None:
        self.problem, self.gcs_address, self.calls = problem, gcs_address, list[str]()

    def is_initialized(self) -> bool:
        return False

    def init(self, **_: object) -> None:
        self.calls.append("init")
        if self.problem is not None:
            raise self.problem

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(gcs_address=self.gcs_address)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", *room.QUIET, *room.QUIET_ALONE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def listening() -> Iterator[str]:
    """An address where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refusal(monkeypatch: pytest.MonkeyPatch, ray: FakeRay, site: Site) -> ResourceError:
    monkeypatch.setattr(room, "ray", ray)
    with pytest.raises(ResourceError) as caught, session(site):
        pass
    assert "\n" not in str(caught.value)
    assert ray.calls == ["init", "shutdown"], "nothing that was started stays behind"
    return caught.value


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (Exception(TIMED_OUT), "The current node timed out during startup. This could happen because"),
        (TimeoutError("Timed out while waiting for the GCS"), "Timed out while waiting for the GCS"),
        (RpcError("Deadline Exceeded", rpc_code=4), "Deadline Exceeded"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_ray_that_does_not_start(monkeypatch: pytest.MonkeyPatch, problem: Exception, told: str) -> None:
    error = refusal(monkeypatch, FakeRay(problem), Site())
    assert str(error).startswith(f"site: Ray does not start on this machine: {told}; it may be too busy")
    assert "try again when it has less to do, or name a cluster by site.address" in str(error)
    assert error.at_work, "nothing that the user gave was wrong"


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (Exception(TIMED_OUT), "The current node timed out during startup. This could happen because"),
        (ConnectionError("no cluster"), "no cluster"),
        (RpcError("Deadline Exceeded", rpc_code=4), "Deadline Exceeded"),
        (AuthenticationError("InvalidAuthToken"), "InvalidAuthToken"),
    ],
)
def test_a_cluster_that_cannot_be_joined(
    monkeypatch: pytest.MonkeyPatch, listening: str, problem: Exception, told: str
) -> None:
    error = refusal(monkeypatch, FakeRay(problem), Site(address=listening))
    assert f"site.address: no Ray cluster to join at {listening}: {told}" in str(error)
    cure = "export RAY_AUTH_MODE=token" if isinstance(problem, AuthenticationError) else "start one with `ray start"
    assert cure in str(error)


def test_a_package_that_is_none_is_no_failure_of_ray(monkeypatch: pytest.MonkeyPatch, listening: str) -> None:
    monkeypatch.setattr(room, "ray", FakeRay())
    for site in (Site(packages=("/no/such",)), Site(packages=("/no/such",), address=listening)):
        with pytest.raises(ConfigError, match=r"site\.packages: /no/such is no folder"), session(site):
            pass


class Cluster(grpc.GenericRpcHandler):
    """A control service that answers one question, to all or to those who show a token."""

    def __init__(self, *, asks_for_token: bool) -> None:
        self._asks_for_token = asks_for_token

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        assert details.method == QUESTION
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        if self._asks_for_token:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b""


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, handlers=[Cluster(asks_for_token=request.param)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@pytest.mark.parametrize("cluster", [False], indirect=True)
def test_an_open_cluster_is_named_with_its_risk(
    cluster: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "ray", FakeRay(gcs_address=cluster))
    with caplog.at_level(logging.WARNING), session(Site(address=cluster)):
        pass
    (warning,) = caplog.messages
    assert "\n" not in warning
    assert warning.startswith(f"the Ray cluster at {cluster} asks for no token: whoever reaches its ports")
    assert "can run any code on it; start it with RAY_AUTH_MODE=token" in warning


@pytest.mark.parametrize("cluster", [True], indirect=True)
def test_a_locked_cluster_is_not(
    cluster: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room, "ray", FakeRay(gcs_address=cluster))
    with caplog.at_level(logging.WARNING), session(Site(address=cluster)):
        pass
    assert caplog.messages == []


def test_who_does_not_answer_is_not_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert not answers_strangers(address)


def test_a_private_ray_gets_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ray", FakeRay())
    with session(Site()):
        assert len(room.os.environ["RAY_AUTH_TOKEN"]) == 64


def test_only_a_cluster_s_nodes_are_watched_for_their_end(monkeypatch: pytest.MonkeyPatch, listening: str) -> None:
    switch = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
    refusal(monkeypatch, FakeRay(RuntimeError()), Site(address=listening))
    assert switch not in os.environ
    refusal(monkeypatch, FakeRay(RuntimeError()), Site())
    assert os.environ[switch] == "0"


def test_what_ray_s_nodes_report_is_a_line_each(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """By way of a name of Ray's own, which this notices to be another's."""
    import ray._private.worker as internals

    monkeypatch.setattr(internals, "print_to_stdstream", internals.print_to_stdstream)
    room._shorten_reports()
    for _ in range(2):
        report = {"lines": ["Raylet is terminated. " + "word " * 100 + "\nits log"], "pid": "raylet", "is_err": False}
        internals.print_to_stdstream(report, ignore_prefix=False)
    (record,) = caplog.records
    assert record.getMessage().startswith("Ray: Raylet is terminated. word")
    assert record.getMessage().endswith("word ...")
    assert "print_to_stdstream" in inspect.getsource(internals.listen_error_messages)
    assert capsys.readouterr().out == ""
