"""The real server: started as a user starts it, asked over HTTP, ended by SIGTERM."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import kinoray
from kinoray.models.tiny3d import Tiny3DConfig
from kinoray.recipe import Recipe
from kinoray.train.checkpoint import Progress, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS, STOP_SECONDS = 150, 60
RAW = {"Content-Type": "video/mp4"}
pytestmark = [pytest.mark.ray, pytest.mark.slow]


class Server:
    """A running job."""

    def __init__(self, model: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        words = ["--model", str(model), "--port", str(self.port), "--max-mb", "1", "--batch-wait-ms", "300"]
        self.job = subprocess.Popen(
            [sys.executable, str(ROOT / "jobs/serve.py"), *words, "--set", "site.local_cpus=2"],
            cwd=folder,
            env={key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.job.poll() is None:
            with suppress(OSError, ValueError):  # nobody listens; Ray Serve knows no such path yet
                if self.ask("GET", "/health")[0] == 200:
                    return
            time.sleep(0.3)
        self.job.kill()
        raise AssertionError(self.job.communicate()[0])

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def model(motion8, tmp_path_factory) -> Path:
    view = {"source": str(motion8 / "val.csv"), "sampling": {"clip_len": 8, "frame_interval": 2}, "crop": 32}
    values = {
        "model": {"kind": "tiny3d", "num_classes": 8, "norm": "group"},
        "data": {"train": {**view, "batch_size": 8}, "val": {**view, "batch_size": 4}},
        "optimizer": {"kind": "sgd", "lr": 0.05},
        "training": {"epochs": 1},
    }
    recipe = Recipe.from_mapping(values, "test")
    assert isinstance(recipe.model, Tiny3DConfig)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    write_checkpoint(
        folder,
        weights=recipe.model.build().state_dict(),
        training_state={},
        recipe=recipe,
        classes=[f"class {index}" for index in range(8)],
        progress=Progress(epoch=0, step=1),
        metrics={},
    )
    return folder


@pytest.fixture(scope="module")
def server(model, tmp_path_factory) -> Iterator[Server]:
    server = Server(model, tmp_path_factory.mktemp("serving"))
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.job.terminate()
        try:
            server.job.communicate(timeout=STOP_SECONDS)
        finally:
            server.job.kill()


def test_it_answers_what_the_recognizer_says_and_batches(server, model, motion8):
    videos = sorted((motion8 / "videos").rglob("*.mp4"))[:8]
    with ThreadPoolExecutor(len(videos)) as pool:
        answers = list(pool.map(lambda path: server.ask("POST", "/recognize?top=8", path.read_bytes(), RAW), videos))
    assert {status for status, _ in answers} == {200}
    recognizer = kinoray.load_recognizer(model)
    for path, (_, answer) in zip(videos, answers, strict=True):
        expected = recognizer.recognize(path).top(8)
        assert {row["label"]: row["score"] for row in answer["top"]} == pytest.approx(dict(expected), abs=1e-5)
    assert max(answer["batch_size"] for _, answer in answers) > 1


def test_it_listens_to_this_machine_alone(server):
    job = psutil.Process(server.job.pid)
    found = [each for process in (job, *job.children(recursive=True)) for each in process.net_connections("inet")]
    listening = {
        each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN and each.laddr.port == server.port
    }
    assert listening == {"127.0.0.1"}


def test_what_it_refuses(server, motion8):
    video = next((motion8 / "videos").rglob("*.mp4")).read_bytes()
    refused = {
        "unreadable": server.ask("POST", "/recognize", b"no video at all", RAW),
        "too_large": server.ask("POST", "/recognize", bytes(20_000_000), RAW),
        "media_type": server.ask("POST", "/recognize", video, {"Content-Type": "text/plain"}),
        "url_refused": server.ask(
            "POST", "/recognize", b'{"url": "http://127.0.0.1/x"}', {"Content-Type": "application/json"}
        ),
        "not_found": server.ask("GET", "/nothing"),
        "method": server.ask("GET", "/recognize"),
    }
    assert {name: answer["error"] for name, (_, answer) in refused.items()} == {name: name for name in refused}
    assert [status for status, _ in refused.values()] == [400, 413, 415, 403, 404, 405]
    assert server.ask("POST", "/recognize", video, RAW)[0] == 200


def test_sigterm_lets_it_answer_what_it_has_begun(server, motion8):
    video = next((motion8 / "videos").rglob("*.mp4")).read_bytes()
    head = f"POST /recognize HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: {len(video)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head.encode() + video[:500])
        while server.ask("GET", "/health")[1]["num_active"] < 1:
            time.sleep(0.05)
        server.job.send_signal(signal.SIGTERM)
        time.sleep(1)
        client.sendall(video[500:])
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    output, _ = server.job.communicate(timeout=STOP_SECONDS)
    assert server.job.returncode == 0, output
    assert output.rstrip().endswith("ended")
    assert "Traceback" not in output
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)
