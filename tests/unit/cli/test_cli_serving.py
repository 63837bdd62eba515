"""What ``jobs/serve.py`` refuses before anything starts."""

import socket
import sys

import pytest

from kinoray.cli.serving import ServingAsked, serve_parser
from kinoray.cluster.serving.run import Endpoint, check_port, ray_serve
from kinoray.errors import ConfigError, ResourceError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "0"], "--port: got 0"),
        (["--port", "70000"], "--port: got 70000"),
        (["--top", "0"], "--top: got 0"),
        (["--max-mb", "-1"], "--max-mb: got -1"),
        (["--timeout-seconds", "nan"], "--timeout-seconds: got nan"),
        (["--max-requests", "5000"], "--max-requests: got 5000; it should be at most 1000"),
        (["--batch-wait-ms", "-5"], "--batch-wait-ms: got -5"),
        (["--urls", "https://host"], "--urls, got 'https://host'"),
    ],
)
def test_numbers_that_cannot_be(words, message):
    with pytest.raises(ConfigError, match=message):
        ServingAsked(serve_parser("").parse_args(["--model", "nowhere", *words]))


def test_it_listens_at_the_loopback_address_alone_and_fetches_nothing_unless_told():
    arguments = serve_parser("").parse_args(["--model", "nowhere"])
    assert (arguments.host, arguments.urls) == ("127.0.0.1", [])


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"--port {port}: cannot listen there"):
            check_port(Endpoint("127.0.0.1", port))
    check_port(Endpoint("127.0.0.1", port))


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    with pytest.raises(ResourceError, match=r"pip install 'kinoray\[serve\]'"):
        ray_serve()


def test_addresses():
    assert Endpoint("127.0.0.1", 8000).url == "http://127.0.0.1:8000"
    assert Endpoint("::1", 8000).url == "http://[::1]:8000"
