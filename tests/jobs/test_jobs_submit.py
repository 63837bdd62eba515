"""The three forms of `ray job submit`, on a head node started from a checkout of its own."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
START_SECONDS = 180
# All that have a fixed default: another Ray may run on this machine.
PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "ray-client-server-port",
    "metrics-export-port",
)
pytestmark = pytest.mark.ray


@dataclass(frozen=True)
class Head:
    """A Ray head node on the loopback address, and the checkout it was started from."""

    checkout: Path
    dashboard: str
    environment: dict[str, str]

    def submit(self, *words: str, cwd: Path | None = None) -> tuple[int, str]:
        """`ray job submit` with these words: exit code and all output."""
        done = subprocess.run(
            [BIN / "ray", "job", "submit", *words],
            cwd=cwd or self.checkout,
            env=self.environment | {"RAY_API_SERVER_ADDRESS": self.dashboard},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    checkout = tmp_path_factory.mktemp("checkout")
    for folder in ("platform", "jobs", "configs"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    # Sockets lie below it, and their paths must be short.
    session = Path("/tmp") / f"kino-{secrets.token_hex(3)}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
    environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "RAY_AUTH_MODE": "token"}
    environment |= {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    ports = {name: _free_port() for name in PORTS}
    options = [f"--{name}={port}" for name, port in ports.items()]
    command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", f"--temp-dir={session}", *options]
    process = subprocess.Popen(
        [*command, "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1", "--disable-usage-stats"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    dashboard = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        _wait_for(dashboard, environment)
        yield Head(checkout, dashboard, environment)
    finally:
        _end_group(process)
        shutil.rmtree(session, ignore_errors=True)


@pytest.fixture
def recipe_in_checkout(head, recipe_file) -> str:
    """The small recipe with one epoch, inside the checkout."""
    target = head.checkout / "configs" / "small.yaml"
    target.write_text(recipe_file.read_text().replace("epochs: 2", "epochs: 1"))
    return "configs/small.yaml"


def test_literal_form(head, recipe_in_checkout):
    code, output = head.submit("jobs/train.py", recipe_in_checkout)
    assert code == 0, output
    assert "val/top1" in output
    assert "succeeded" in output
    assert list((head.checkout / "runs").glob("small-*/epoch-0000/checkpoint.json"))


@pytest.mark.slow
@pytest.mark.parametrize("entry", [["jobs/train.py"], ["python", "jobs/train.py"]], ids=["executable", "python"])
def test_uploaded_forms(head, recipe_in_checkout, tmp_path, entry):
    storage = ("--set", f"site.storage={tmp_path}/runs")
    code, output = head.submit("--working-dir", ".", "--", *entry, recipe_in_checkout, *storage)
    assert code == 0, output
    assert "succeeded" in output
    assert list((tmp_path / "runs").glob("small-*/epoch-0000/checkpoint.json"))


def test_a_wrong_recipe_fails_the_job(head, recipe_in_checkout):
    code, output = head.submit("--", "jobs/train.py", recipe_in_checkout, "--set", "optimizer.momentun=0.9")
    assert code == 1
    assert "did you mean 'momentum'" in output
    assert "failed" in output


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the head and the processes that it started; they share its process group."""
    for signal_number, patience_seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_seconds)
            return


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_for(dashboard: str, environment: dict[str, str]) -> None:
    """Until a job runs: the dashboard answers some seconds before the agent that starts jobs."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        trial = subprocess.run(
            [BIN / "ray", "job", "submit", "--address", dashboard, "--", "true"],
            env=environment,
            capture_output=True,
            check=False,
        )
        if trial.returncode == 0:
            return
        time.sleep(0.5)
    raise TimeoutError(f"no job ran at {dashboard} within {START_SECONDS} s")
