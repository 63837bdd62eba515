import contextlib
import logging
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import boto3
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from kinoray.errors import DecodeError
from kinoray.video import files, stores, web
from kinoray.video.decode import VideoReader
from kinoray.video.files import open_video_file, without_passwords
from kinoray.video.open import open_video
from kinoray.video.stores import file_system


def reason_of(path):
    with pytest.raises(DecodeError) as caught:
        open_video_file(path)
    assert path in str(caught.value)
    return caught.value.reason


def test_local_paths_stay_paths(movie):
    assert open_video_file(movie) == movie
    assert open_video_file(f"file://{movie}") == movie


def test_odd_names(movie, tmp_path, indices_of):
    path = tmp_path / "a b#1%20: concat|x.mp4"
    path.write_bytes(Path(movie).read_bytes())
    with VideoReader(str(path)) as video:
        assert indices_of(video.read([9])) == [9]
    assert open_video_file(path.as_uri()) == str(path)


def test_local_failures(tmp_path):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert reason_of(str(tmp_path / "none.mp4")) == "missing"
    assert reason_of(str(empty)) == "empty"
    assert reason_of(str(tmp_path)) == "unreadable"
    with pytest.raises(
        DecodeError, match=r"^nowhere://b/k\.mp4: .* unknown scheme; it should be s3://, gs://, .*https?"
    ):
        open_video_file("nowhere://b/k.mp4")


def test_odd_paths_are_named(tmp_path):
    shard = tmp_path / "s.parquet"
    shard.write_bytes(bytes(100))
    for path in (
        f"{tmp_path}/{'a' * 300}/v.mp4",
        "file://[half",
        "nul\0.mp4",
        "",
        f"{shard}#bytes=0-{'9' * 30}",
        f"{shard}#bytes=0-{'9' * 5000}",
        f"{shard}#bytes=10-3",
        f"{shard}#bytes=90-100",
    ):
        with pytest.raises(DecodeError) as caught:
            open_video(path)
        assert str(caught.value).startswith(f"{path}: "), path


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "secret.mp4"
    path.write_bytes(b"1")
    path.chmod(0)
    assert reason_of(str(path)) == "denied"


def allow_s3(monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def bucket(monkeypatch):
    """An S3 bucket of this machine, for boto3 and for pyarrow."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    allow_s3(monkeypatch, f"http://{host}:{port}")
    bucket = boto3.resource("s3").create_bucket(Bucket="videos")
    yield bucket
    server.stop()


def test_s3(bucket, movie, indices_of):
    for key in ("k400/movie.mp4", "a b#1%20+c.mp4"):
        bucket.upload_file(movie, key)
        with VideoReader(f"s3://videos/{key}") as video:
            assert indices_of(video.read([33, 2])) == [33, 2]
            assert video.name == f"s3://videos/{key}"
        assert open_video_file(f"s3://videos/{key}", ranged=True).read() == Path(movie).read_bytes()
    bucket.put_object(Key="empty.mp4", Body=b"")
    assert reason_of("s3://videos/empty.mp4") == "empty"
    assert reason_of("s3://videos/none.mp4") == "missing"
    assert reason_of("s3://nobody/none.mp4") == "missing"


def test_folders_of_pictures_in_s3(bucket, tmp_path):
    for number in range(40):
        Image.new("RGB", (32, 24), (6 * number,) * 3).save(tmp_path / f"{number}.png")
        bucket.upload_file(str(tmp_path / f"{number}.png"), f"k400/a walk#1/{number}.png")
    for uri in ("s3://videos/k400/a walk#1", "s3://videos/k400/a walk#1/"):
        with open_video(uri) as video:
            assert video.name == uri
            assert video.read([33, 2, *range(40)]).data[:, 0, 0, 0].tolist() == [198, 12, *range(0, 240, 6)]
    bucket.Object("k400/a walk#1/7.png").delete()
    with open_video("s3://videos/k400/a walk#1") as video:
        assert video.read(range(40)).data[7, 0, 0, 0] == 36
        bucket.Object("k400/a walk#1/20.png").delete()
        assert video.read(range(40)).data[20, 0, 0, 0] == 114
    for uri in ("s3://videos/none", "s3://videos/none/", "s3://nobody/none"):
        with pytest.raises(DecodeError, match=f"^{uri}: no such file") as caught:
            open_video(uri)
        assert caught.value.reason == "missing"


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine that also passes for an S3 store; it counts requests and misbehaves as told.

    ``files`` by path; ``requests`` as (method, path, range); ``codes`` are the next answers; ``cuts`` the number of
    next contents that end amid; ``is_ranged`` whether parts can be asked for.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            self.close_connection = True
            asked = self.headers.get("Range")
            server.requests.append((self.command, self.path, asked))
            content = server.files.get(self.path)
            code = server.codes.pop(0) if server.codes else 200 if content is not None else 404
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "") if server.is_ranged else None
            if code != 200:
                content = b""
            elif span and not content:
                code = 416
            self.send_response(206 if code == 200 and span else code)
            if code == 200 and span:
                start, last = int(span[1]), min(int(span[2] or 1 << 60), len(content) - 1)
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
                content = content[start : last + 1]
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                server.cuts -= 1
                self.wfile.write(content[: len(content) // 2] if server.cuts >= 0 else content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.requests, server.codes, server.cuts, server.is_ranged = {}, [], [], 0, True
    server.url = f"http://127.0.0.1:{server.server_port}"
    allow_s3(monkeypatch, server.url)
    monkeypatch.setattr(web, "_WAITS_SECONDS", (0, 0, 0))
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_small_objects_come_in_one_request(server):
    server.files = {"/b/1.mp4": b"first", "/b/2.mp4": b"second"}
    assert open_video_file("s3://b/1.mp4").read() == b"first"
    assert open_video_file("s3://b/2.mp4", ranged=True).read() == b"second"
    assert [method for method, *_ in server.requests] == ["HEAD", "GET"] * 2
    server.requests.clear()
    assert open_video_file(f"{server.url}/b/1.mp4").read() == b"first"
    assert server.requests == [("GET", "/b/1.mp4", "bytes=0-")]
    server.files["/b/a%20b%20%C3%A9.mp4"] = b"third"
    assert open_video_file(f"{server.url}/b/a b%20é.mp4").read() == b"third"


@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_large_objects_come_in_pieces(server, scheme, monkeypatch):
    content = bytes(range(256)) * (12 << 10)  # 3 MiB
    server.files = {"/b/large.mp4": content}
    monkeypatch.setattr(files, "RANGED_WHOLE_BYTES", 1 << 20)
    uri = "s3://b/large.mp4" if scheme == "s3" else f"{server.url}/b/large.mp4"
    file = open_video_file(uri, ranged=True)
    server.requests.clear()
    file.seek(2 << 20)
    assert file.read(1000) == content[2 << 20 : (2 << 20) + 1000]
    assert server.requests == [("GET", "/b/large.mp4", f"bytes={2 << 20}-{(5 << 19) - 1}")]
    file.seek(0)
    assert file.read() == content
    assert open_video_file(uri).read() == content


@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_what_passes_is_tried_again(server, scheme):
    server.files = {"/b/busy.mp4": b"content"}
    uri = "s3://b/busy.mp4" if scheme == "s3" else f"{server.url}/b/busy.mp4"
    server.codes = [503, 500]
    assert open_video_file(uri).read() == b"content"
    server.cuts = 1
    assert open_video_file(uri).read() == b"content"


def test_answers_come_to_an_end(server, monkeypatch):
    server.files, server.is_ranged = {"/v.mp4": bytes(10_000)}, False
    assert len(open_video_file(f"{server.url}/v.mp4").read()) == 10_000
    server.requests.clear()
    monkeypatch.setattr(web, "_MAX_BODY_BYTES", 9_999)
    with pytest.raises(DecodeError, match="in one answer"):
        open_video_file(f"{server.url}/v.mp4")
    assert len(server.requests) == 1


def _answer(listener, beginning):
    """Accept a request, answer a beginning, then a byte now and then until nobody listens any more."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        connection.recv(4096)
        connection.sendall(beginning)
        while beginning:
            connection.sendall(b"x")
            time.sleep(0.05)
        connection.recv(1)


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_web_servers_that_hang_or_trickle_are_slow(beginning):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=_answer, args=(listener, beginning), daemon=True)
        thread.start()
        started = time.monotonic()
        with pytest.raises(DecodeError, match=r"v\.mp4: not read within 0\.3 seconds") as caught:
            open_video_file(f"http://127.0.0.1:{listener.getsockname()[1]}/v.mp4", max_seconds=0.3)
        assert caught.value.reason == "slow"
        assert time.monotonic() - started < 2.3
        thread.join(5)


def test_web_failures(server):
    server.files = {"/v.mp4": b"content", "/empty.mp4": b""}
    url = f"{server.url}/v.mp4"
    reasons = [(404, "missing"), (403, "denied"), (400, "unreadable"), (503, "unavailable"), (429, "unavailable")]
    for code, reason in reasons:
        num_tries = 4 if reason == "unavailable" else 1
        server.requests.clear()
        server.codes = [code] * num_tries
        assert reason_of(url) == reason
        assert len(server.requests) == num_tries
    assert reason_of(f"{server.url}/none.mp4") == "missing"
    assert reason_of(f"{server.url}/empty.mp4") == "empty"
    server.is_ranged = False
    assert reason_of(f"{server.url}/empty.mp4") == "empty"
    assert reason_of("http://127.0.0.1:1/v.mp4") == "unavailable"
    assert reason_of("http://[/v.mp4") == "unreadable"


def test_web_server_that_knows_no_parts(server, monkeypatch):
    server.files = {"/v.mp4": b"content"}
    server.is_ranged = False
    monkeypatch.setattr(files, "WHOLE_BYTES", 3)
    assert open_video_file(f"{server.url}/v.mp4").read() == b"content"


@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_failures_of_a_later_piece_name_the_video(server, scheme, monkeypatch):
    server.files = {"/b/v.mp4": bytes(100)}
    monkeypatch.setattr(files, "WHOLE_BYTES", 50)
    uri = "s3://b/v.mp4" if scheme == "s3" else f"{server.url}/b/v.mp4"
    file = open_video_file(uri)
    server.codes = [403]
    with pytest.raises(DecodeError, match=r"/v\.mp4: no permission") as caught:
        file.read(10)
    assert caught.value.reason == "denied"
    server.is_ranged = False
    if scheme == "http":
        with pytest.raises(DecodeError, match=r"/v\.mp4: cannot be fetched \(the server no longer sends parts"):
            file.read(10)


def test_one_connection_for_all_that_mean_the_same(server, monkeypatch):
    server.files = {f"/b/{number}.mp4": b"content" for number in range(20)}
    connected = []

    class Counting:
        @staticmethod
        def from_uri(uri):
            connected.append(uri)
            return original(uri)

    original = stores.FileSystem.from_uri
    monkeypatch.setattr(stores, "FileSystem", Counting)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda number: open_video_file(f"s3://b/{number}.mp4").read(), range(20)))
    assert read == [b"content"] * 20
    assert 1 <= len(connected) <= 4  # threads that start together may each connect
    connected.clear()
    open_video_file("s3://b/1.mp4")
    assert connected == []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone else")
    open_video_file("s3://b/1.mp4")
    open_video_file("s3://b/1.mp4?region=eu-west-1")
    assert connected == ["s3://b", "s3://b?region=eu-west-1"]


def test_google_gives_up_in_time():
    started = time.monotonic()
    assert reason_of("gs://anonymous@b/v.mp4?endpoint_override=127.0.0.1:1&scheme=http&retry_limit_seconds=0.1") == (
        "unavailable"
    )
    assert time.monotonic() - started < 10
    filesystem, path = file_system("gs://anonymous@b/v.mp4")
    assert path == "b/v.mp4"
    assert filesystem is file_system("gs://anonymous@b/w.mp4?retry_limit_seconds=60")[0]


def test_a_forked_process_connects_anew(server):
    server.files = {"/b/1.mp4": b"content"}
    code = """
import os
from kinoray.video.files import open_video_file
open_video_file("s3://b/1.mp4")
child = os.fork()
if child == 0:
    os._exit(0 if open_video_file("s3://b/1.mp4").read() == b"content" else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
    assert len(server.requests) == 4


def test_passwords_stay_out_of_messages(server):
    for uri, shown in (
        ("s3://key:hunter2@b/v.mp4", "s3://***@b/v.mp4: no such file"),
        (
            f"{server.url}/v.mp4?id=7&X-Amz-Signature=hunter2",
            f"{server.url}/v.mp4?id=7&X-Amz-Signature=***: no such file",
        ),
        ("s3://key:hunter2/word@b/v.mp4", "s3://***@b/v.mp4: cannot be fetched"),
        ("s3://key:hunter2@b:c d/v.mp4", "s3://***@b:c d/v.mp4: cannot be fetched"),
    ):
        with pytest.raises(DecodeError) as caught:
            open_video_file(uri)
        assert shown in str(caught.value)
        assert "hunter2" not in str(caught.value)
    assert without_passwords("--set a=https://hunter2@host/v.mp4 -n") == "--set a=https://***@host/v.mp4 -n"
    assert without_passwords("abfs://box@account/v.mp4 /a:b@c.mp4") == "abfs://box@account/v.mp4 /a:b@c.mp4"
