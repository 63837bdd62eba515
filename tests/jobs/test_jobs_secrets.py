"""Canaries: a secret in every place where a user may put one comes out nowhere."""

import csv
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from pyarrow import parquet

from kinoray.data.motion8 import CLASSES
from kinoray.tracking.store import why_no_answer

ROOT = Path(__file__).resolve().parents[2]
CANARY = "c4narYsecret/9Zx"
WORD = "c4narYsecret"
"""Of the canary, what is there however it is quoted."""
IN_URI = (
    f"s3://KEYID:{CANARY}@bucket/x.csv",
    f"s3://bucket/x.csv?access_key=KEYID&secret_key={CANARY}",
    f"https://host/x.csv?X-Amz-Signature={WORD}",
    f"https://me:{WORD}@host/x.csv",
)
CLOSED = "127.0.0.1:9"


def told(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """What the job said on stderr; fails where that, or its output, holds a canary."""
    assert done.returncode == code, done.stdout + done.stderr
    assert WORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, CANARY)


@pytest.mark.parametrize("uri", IN_URI)
def test_a_recipe_that_would_hold_one_is_refused(call_job, recipe_file, uri):
    for path in ("training.init_from", "data.train.source", "site.storage", "name"):
        error = told(call_job("train.py", str(recipe_file), "--dry-run", "--set", f"{path}={uri}"))
        assert f"{path.removeprefix('site.')}: holds a secret, got " in error
        assert "AWS_SECRET_ACCESS_KEY" in error


@pytest.mark.parametrize("uri", IN_URI)
def test_other_mistakes_do_not_quote_it(call_job, recipe_file, tmp_path, uri):
    words = ["--dry-run", "--set", "data.classes=[a]"]
    for setting in (
        f"model.depht={uri}",
        f"site.wokers={uri}",
        f"no path {uri}",
        f"schedule=[{uri}",
        f"training={uri}",
    ):
        told(call_job("train.py", str(recipe_file), *words, "--set", setting))
    for name, content in {
        "typo.yaml": {"base": str(recipe_file), "modle": uri},
        "base.yaml": {"base": uri},
        "number.yaml": {"base": str(recipe_file), "training": {"epochs": uri}},
        "kind.yaml": {"base": str(recipe_file), "model": {"kind": uri}},
    }.items():
        (tmp_path / name).write_text(yaml.safe_dump(content))
        told(call_job("train.py", str(tmp_path / name)))
    told(call_job("train.py", uri))
    told(call_job("train.py", str(recipe_file), "--site", uri))


@pytest.mark.parametrize("uri", IN_URI)
def test_nor_do_other_jobs(call_job, checkpoint, recipe_file, tmp_path, uri):
    told(call_job("predict.py", "--model", str(checkpoint), "--videos", uri, "--out", str(tmp_path / "out")))
    sweep = {"recipe": str(recipe_file), "search": "grid", "space": {"training.init_from": {"grid": [uri]}}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    assert "space.training.init_from.grid.0: holds a secret" in told(call_job("sweep.py", str(tmp_path / "sweep.yaml")))


def test_nor_does_an_address_that_does_not_answer(call_job, checkpoint):
    address = f"https://me:{WORD}@{CLOSED}/a.mp4?X-Amz-Signature={WORD}"
    error = told(call_job("recognize.py", "--model", str(checkpoint), address))
    assert f"https://***@{CLOSED}/a.mp4?X-Amz-Signature=***" in error
    error = told(call_job("recognize.py", "--model", address.replace("a.mp4", "a.safetensors"), "a.mp4"))
    assert "***" in error


@pytest.mark.parametrize("scheme", ["http", "postgresql", "ftp"])
def test_nor_does_a_store_that_does_not(call_job, recipe_file, scheme):
    uri = f"{scheme}://me:{WORD}@{CLOSED}/runs?password={WORD}"
    assert "tracking: " in told(call_job("train.py", str(recipe_file), "--set", f"site.tracking_uri={uri}"))


@pytest.mark.parametrize(
    "row", [f"https://host/a.mp4?X-Amz-Signature={WORD},99", f"../a.mp4?X-Amz-Signature={WORD},0", f"x?key={WORD},0,0"]
)
def test_nor_does_a_manifest(call_job, recipe_file, tmp_path, row):
    (tmp_path / "m.csv").write_text(f"path,label\n{row}\nb.mp4,1\n")
    told(call_job("train.py", str(recipe_file), "--set", f"data.train.source={tmp_path}/m.csv"))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def signed(motion8, tmp_path) -> Iterator[dict[str, str]]:
    """Manifests of the demo whose rows are signed addresses; one of them leads nowhere."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(motion8))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        paths = {}
        for split in ("train", "val"):
            with (motion8 / f"{split}.csv").open(newline="") as file:
                rows = [(row["path"], row["label"]) for row in csv.DictReader(file)]
            rows.append(("videos/lost.mp4", CLASSES[0]))
            paths[split] = str(tmp_path / f"signed_{split}.csv")
            with Path(paths[split]).open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(("path", "label"))
                for path, label in rows:
                    address = f"http://127.0.0.1:{server.server_port}/{path}?id=7&X-Amz-Signature={quote(CANARY)}"
                    writer.writerow((address, label))
        yield paths
        server.shutdown()


@pytest.fixture
def tracking_uri(tmp_path) -> Iterator[str]:
    """A server's, with a password; it asks for none, so the password must be all that the canary is about."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "mlflow").mkdir()
    words = ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow/mlflow.db", "--workers", "1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *words, "--artifacts-destination", f"{tmp_path}/mlflow/artifacts"],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 90
        while why_no_answer(f"http://127.0.0.1:{port}"):
            assert time.monotonic() < end, "the server did not come up"
            time.sleep(0.2)
        yield f"http://me:{WORD}@127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    folder = Path("/tmp") / f"kino-{secrets.token_hex(3)}"  # sockets lie below it, and their paths must be short
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_that_a_run_writes_holds_one(recipe_file, signed, tracking_uri, ray_folder, tmp_path):
    token = secrets.token_hex(32)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
    environment |= {"RAY_AUTH_TOKEN": token, "RAY_TMPDIR": str(ray_folder), "CANARY_OF_A_USER": CANARY}
    settings = [f"site.tracking_uri={tracking_uri}", "site.local_cpus=2", "data.max_bad_fraction=0.3"]
    settings += [f"data.{split}.source={path}" for split, path in signed.items()]
    settings = [word for text in settings for word in ("--set", text)]

    def run(job: str, *words: str) -> bytes:
        command = [sys.executable, str(ROOT / "jobs" / job), *words, *settings]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return (done.stdout + done.stderr).encode()

    outputs = {"train.py": run("train.py", str(recipe_file))}
    outputs["evaluate.py"] = run("evaluate.py", str(next((tmp_path / "runs").glob("small-*"))))
    given = {Path(path) for path in signed.values()}
    kept = [file for folder in (tmp_path, ray_folder) for file in folder.rglob("*") if file.is_file()]
    kept = [file for file in kept if file not in given]
    assert any(file.name == "recipe.yaml" for file in kept)
    assert any(file.suffix == ".log" for file in kept if file.is_relative_to(ray_folder))
    assert any(file.suffix == ".parquet" for file in kept)
    written = {str(file): content_of(file) for file in kept}
    assert any(b"X-Amz-Signature=***" in content for content in written.values()), "the bad video is named"
    written |= outputs
    for secret in (WORD, token):
        assert {name: around(content, secret) for name, content in written.items() if secret.encode() in content} == {}


def around(content: bytes, secret: str) -> bytes:
    """Where the secret is, for whoever has to find out who wrote it."""
    at = content.index(secret.encode())
    return content[max(0, at - 100) : at + 100]


def content_of(file: Path) -> bytes:
    if file.suffix == ".parquet":
        return repr(parquet.read_table(file).to_pydict()).encode()
    return file.read_bytes()
