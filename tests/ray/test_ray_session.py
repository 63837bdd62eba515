"""Who gets in where we start Ray."""

from pathlib import Path

import grpc
import psutil
import pytest
import ray

from kinoray.cluster.session import answers_strangers

pytestmark = pytest.mark.ray

ASKED = ("NodeInfoGcsService/CheckAlive", "CoreWorkerService/PushTask", "NodeManagerService/GetNodeStats")
RAYS_OWN = (f"{Path(ray.__file__).parent}/", "ray::")


def test_strangers_are_refused():
    assert not answers_strangers(ray.get_runtime_context().gcs_address)


def listening(process: psutil.Process) -> list[tuple[str, int]]:
    try:
        found = process.net_connections(kind="inet")
    except psutil.NoSuchProcess:
        return []
    return [(each.laddr.ip, each.laddr.port) for each in found if each.status == psutil.CONN_LISTEN]


def named(process: psutil.Process) -> str:
    """The command: the path of one of Ray's programs, or the name that its workers and agents take."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def does_answer(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.enable_http_proxy", 0),)) as channel:
        for question in ASKED:
            try:
                channel.unary_unary(f"/ray.rpc.{question}")(b"", timeout=5)
            except grpc.RpcError:
                continue
            return True
    return False


def test_what_listens_is_ray_s_and_asks_for_the_token():
    """Ray 2.60 binds to all interfaces whatever the node's address is; nothing else does."""
    driver = psutil.Process()
    wide = {
        (process.pid, port): named(process)
        for process in (driver, *driver.children(recursive=True))
        for address, port in listening(process)
        if not address.startswith("127.") and address != "::1"
    }
    ours = [port for pid, port in wide if pid == driver.pid]
    assert len(ours) == 1, "the driver's end of Ray, through which workers answer"
    others = {name for (pid, _), name in wide.items() if pid != driver.pid and name}
    assert others, "Ray was expected to listen"
    assert not [name for name in others if not any(word in name for word in RAYS_OWN)]
    assert [port for _, port in wide if does_answer(port)] == []
