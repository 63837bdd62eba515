"""URLs: which are fetched, that no way leads around, and what their failures come to."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pyarrow.fs import LocalFileSystem

from kinoray.cluster.serving import addresses
from kinoray.cluster.serving.addresses import Fetcher, check_allowed, is_public
from kinoray.cluster.serving.answers import RefusedError
from kinoray.errors import ConfigError


class Pages(BaseHTTPRequestHandler):
    """``/in/...`` is what may be fetched, ``/secret`` what may not."""

    def do_GET(self) -> None:
        moved = {"/in/moved": "/in/video", "/in/out": "/secret", "/in/round": "/in/round", "/in/file": "file:///etc"}
        codes = {"/in/gone": 404, "/in/locked": 403, "/in/broken": 500}
        if self.path in moved:
            self.send_response(302)
            self.send_header("Location", moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = b"v" * 100
        self.send_response(codes.get(self.path, 200))
        if self.path != "/in/unstated":
            self.send_header("Content-Length", str(len(content) + (self.path == "/in/short")))
        self.end_headers()
        for part in content if self.path == "/in/slow" else [content]:
            self.wfile.write(bytes([part]) if isinstance(part, int) else part)
            self.wfile.flush()
            if isinstance(part, int):
                time.sleep(0.05)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.handle_error = lambda *args: None  # of clients that go before the end
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def refused(fetcher: Fetcher, url: str, seconds: float = 10) -> tuple[int, str]:
    with pytest.raises(RefusedError) as caught:
        fetcher.fetch(url, seconds)
    return int(caught.value.status), caught.value.code


def test_none_are_fetched_unless_they_were_allowed(host):
    assert refused(Fetcher((), 1000), f"{host}/in/video") == (403, "url_refused")


@pytest.mark.parametrize("path", ["video", "moved", "unstated", "a%20b.mp4?token=1", "blank and é.mp4"])
def test_what_lies_below_a_prefix(host, path):
    assert Fetcher((f"{host}/in/",), 100).fetch(f"{host}/in/{path}", 10) == b"v" * 100


@pytest.mark.parametrize(
    "path", ["/secret", "/in/out", "/in/../secret", "/in/%2e%2e/secret", "/in/..%2fsecret", "/in", "/in/file"]
)
def test_what_does_not(host, path):
    assert refused(Fetcher((f"{host}/in/",), 1000), f"{host}{path}") == (403, "url_refused")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://host/in/video",
        "https://host.evil.com/in/video",
        "https://host@evil.com/in/video",
        "https://host\\@evil.com/in/video",
        "https://host:99999/in/video",
        "https://host:8443/in/video",
        "https://[host/in/video",
        "https:///in/video",
        "https://host/in/a\nb",
        "s3://bucket/other/video",
        "s3://bucket/in/video?endpoint_override=10.0.0.1",
        "s3://key:secret@bucket/in/video",
        "gs://bucket/in/video",
        "",
    ],
)
def test_urls_that_look_alike(url):
    assert refused(Fetcher(("https://host/in/", "s3://bucket/in/"), 1000), url) == (403, "url_refused")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("gone", (422, "url_missing")),
        ("locked", (422, "url_denied")),
        ("broken", (502, "url_unavailable")),
        ("round", (502, "url_unavailable")),
        ("short", (502, "url_unavailable")),
        ("slow", (504, "url_slow")),
    ],
)
def test_what_cannot_be_had(host, path, answer):
    assert refused(Fetcher((f"{host}/in/",), 1000), f"{host}/in/{path}", seconds=1) == answer


@pytest.mark.parametrize("path", ["video", "unstated"])
def test_what_is_too_large(host, path):
    assert refused(Fetcher((f"{host}/in/",), 99), f"{host}/in/{path}") == (413, "too_large")


def test_stores(monkeypatch, tmp_path):
    (tmp_path / "video").write_bytes(b"v" * 100)
    monkeypatch.setattr(
        addresses, "file_system", lambda uri: (LocalFileSystem(), f"{tmp_path}/{uri.rpartition('/')[2]}")
    )
    assert Fetcher(("s3://bucket/in/",), 100).fetch("s3://bucket/in/video", 10) == b"v" * 100
    assert refused(Fetcher(("s3://bucket/in/",), 99), "s3://bucket/in/video") == (413, "too_large")
    assert refused(Fetcher(("s3://bucket/in/",), 100), "s3://bucket/in/other") == (422, "url_missing")


def test_a_server_that_is_not_there():
    assert refused(Fetcher(("http://127.0.0.1:9/",), 99), "http://127.0.0.1:9/video") == (502, "url_unavailable")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/video",
        "http://localhost/video",
        "http://[::1]/video",
        "http://[::ffff:10.0.0.1]/video",
        "http://0.0.0.0/video",
        "http://2130706433/video",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.1.2.3/video",
        "http://user@8.8.8.8/video",
        "http://8.8.8.8:22/video",
        "s3://bucket/video",
    ],
)
def test_public_means_the_public_internet(url):
    assert refused(Fetcher(("public",), 1000), url) == (403, "url_refused")


def test_a_name_is_looked_at_once_and_that_address_is_connected_to(monkeypatch):
    connected, asked = [], []

    def look_up(name, port, **_kinds):
        asked.append(name)
        return [(2, 1, 6, "", ("93.184.216.34", port))]

    def connect(address, timeout):
        connected.append(address)
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr(addresses, "getaddrinfo", look_up)
    monkeypatch.setattr(addresses, "create_connection", connect)
    assert refused(Fetcher(("public",), 1000), "https://example.com/video") == (502, "url_unavailable")
    assert (asked, connected) == (["example.com"], [("93.184.216.34", 443)])


def test_a_name_with_a_private_address_among_others(monkeypatch):
    found = [(2, 1, 6, "", ("93.184.216.34", 80)), (2, 1, 6, "", ("192.168.0.7", 80))]
    monkeypatch.setattr(addresses, "getaddrinfo", lambda *args, **kinds: found)
    assert refused(Fetcher(("public",), 1000), "http://example.com/video") == (403, "url_refused")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("172.20.0.1", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("fe80::1%2", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_addresses(address, public):
    assert is_public(address) is public


@pytest.mark.parametrize(
    "prefix", ["https://host", "host/", "file:///srv/", "s3://bucket/?scheme=http", "s3:///x/", "all"]
)
def test_what_is_no_prefix(prefix):
    with pytest.raises(ConfigError, match="--urls, got"):
        check_allowed([prefix])


def test_prefixes():
    check_allowed(["public", "https://host/", "http://host:8080/videos/", "s3://bucket/", "gs://bucket/prefix/"])
