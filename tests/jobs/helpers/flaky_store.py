"""A proxy before a store, which loses some requests and remembers all."""

import random
import socket
import struct
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Request(NamedTuple):
    """One that reached the proxy, and whether it was passed on.

    ``came`` and ``done`` are when it reached the proxy, and when the store had answered it.
    """

    came: float
    done: float
    method: str
    path: str
    query: str
    passed: bool


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed leave without a word."""


class FlakyStore:
    """Passes requests on to a store.

    Args:
        target: ``http://host:port`` of the store.

    Attributes:
        url: of the proxy, on the loopback address.
        busy: share of requests that are answered with 503.
        reset: share of requests whose connection is cut.
        denied: what begins so is answered with 403.
        away: what begins so is answered with 503.
        requests: all that were answered, in the order of the answers.
    """

    def __init__(self, target: str) -> None:
        self.busy = self.reset = 0.0
        self.denied = self.away = "\0"
        self.requests: list[Request] = []
        self._target = urlsplit(target).netloc
        self._dice = random.Random(0)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            proxy._handle(handler)

        for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            setattr(Handler, f"do_{method}", answer)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        came, body = time.time(), _body_of(handler)
        path, query = unquote(urlsplit(handler.path).path), urlsplit(handler.path).query
        throw = self._dice.random()
        is_denied, is_cut = path.startswith(self.denied), throw < self.reset
        is_busy = self.reset <= throw < self.reset + self.busy or path.startswith(self.away)
        is_passed = not (is_denied or is_cut or is_busy)
        answer = self._passed_on(handler, body) if is_passed else None
        self.requests.append(Request(came, time.time(), handler.command, path, query, is_passed))
        if answer is not None:
            _send(handler, *answer)
        elif is_cut:
            # With no time to linger, closing is a reset.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            handler.connection.close()
        else:
            _send(handler, 403 if is_denied else 503, {}, b"" if handler.command == "HEAD" or is_denied else _BUSY)

    def _passed_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes, str | None]:
        """The store's status, headers and content, and the length that it gives where there is no content."""
        connection = HTTPConnection(self._target, timeout=30)
        connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        headers = {key: value for key, value in answer.getheaders() if key.lower() not in _HOP}
        length = answer.getheader("Content-Length") if handler.command == "HEAD" else None
        return answer.status, headers, content, length


def _body_of(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    del handler.headers["Transfer-Encoding"]
    return b"".join(parts)


def _send(
    handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes, length: str | None = None
) -> None:
    handler.send_response_only(status)
    for key, value in headers.items():
        handler.send_header(key, value)
    handler.send_header("Content-Length", length or str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
