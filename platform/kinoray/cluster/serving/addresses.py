"""Videos that a request names by URL: which are fetched at all, and how.

A server that fetches what strangers name is a door into its own network: to other machines behind its firewall, to a
cloud's credentials, and with its own rights to any bucket. So none is fetched but those that were allowed: what lies
below given prefixes, or ``public``: web servers whose address is of the public internet. The address that is connected
to is the very one that was checked, redirects are checked anew, and what is fetched is read as bytes of a video only.
"""

import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import IPv6Address, IPv6Network, ip_address
from socket import SOCK_STREAM, create_connection, getaddrinfo, socket
from string import punctuation
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from kinoray.cluster.serving.answers import RefusedError, refusal_of_url, too_large
from kinoray.errors import ConfigError, DecodeError
from kinoray.video.files import named_failures, without_passwords
from kinoray.video.stores import file_system

PUBLIC = "public"
_WEB, _STORES = ("http", "https"), ("s3", "gs")
_PORTS = {"http": 80, "https": 443}
_MAX_REDIRECTS = 5
_MAX_WAIT_SECONDS = 20.0
_PART_BYTES = 1 << 20
_REDIRECTS = {301, 302, 303, 307, 308}
_NAT64 = IPv6Network("64:ff9b::/96")
_REASONS = {401: "denied", 403: "denied", 404: "missing", 410: "missing"}


def check_allowed(allowed: Sequence[str]) -> None:
    """Raise a ConfigError where a prefix is none that URLs can be held against."""
    for prefix in allowed:
        parts = urlsplit(prefix)
        if prefix == PUBLIC:
            continue
        if parts.scheme not in (*_WEB, *_STORES) or not parts.netloc or not parts.path.endswith("/") or "?" in prefix:
            raise ConfigError(
                f"--urls, got '{without_passwords(prefix)}'; it should be {PUBLIC}, or a folder that ends with '/', as "
                "in https://videos.example.com/ or s3://bucket/prefix/"
            )


@dataclass(frozen=True)
class Fetcher:
    """Fetches what may be fetched.

    Attributes:
        allowed: prefixes, ``public``.
        num_bytes: that a file may have.
    """

    allowed: tuple[str, ...]
    num_bytes: int

    def check(self, url: str) -> None:
        """Raise a RefusedError where a URL may not be fetched; of ``public`` this leaves its address to be seen."""
        if not self.allowed:
            raise _refused("this server fetches no URLs (it was started without --urls); send the file itself")
        parts = _split(url)
        if self._is_below_prefix(parts):
            return
        is_plain = parts.scheme in _WEB and parts.port in {None, _PORTS[parts.scheme]} and "@" not in parts.netloc
        if PUBLIC not in self.allowed or not is_plain:
            raise _refused("the URL, got one outside of what this server was started to fetch (--urls)")

    def fetch(self, url: str, seconds: float) -> bytes:
        """The content of a URL.

        Raises:
            RefusedError: it may not be fetched, cannot be had, is too large or takes too long.
        """
        end = time.monotonic() + seconds
        try:
            self.check(url)
            if urlsplit(url).scheme in _WEB:
                return self._fetch_web(url, end)
            with named_failures(url):
                filesystem, path = file_system(url)
                with filesystem.open_input_file(path) as file:
                    return self._read(file.read, end)
        except DecodeError as problem:
            raise refusal_of_url(problem) from None

    def _fetch_web(self, url: str, end: float) -> bytes:
        shown = without_passwords(url)
        for _ in range(_MAX_REDIRECTS + 1):
            self.check(url)
            try:
                with (
                    closing(self._connection(urlsplit(url), end)) as connection,
                    _asked(connection, url) as response,
                ):
                    if response.status not in _REDIRECTS:
                        return self._body(response, shown, end)
                    url = urljoin(url, response.headers.get("Location", ""))
            except (OSError, HTTPException, ValueError) as error:
                why = str(error) or type(error).__name__
                raise DecodeError(f"{shown}: cannot be fetched ({why})", "unavailable") from error
        raise DecodeError(f"{shown}: cannot be fetched (more than {_MAX_REDIRECTS} redirects)", "unavailable")

    def _connection(self, parts: SplitResult, end: float) -> HTTPConnection:
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        if not self._is_below_prefix(parts):
            kind = _PublicHTTPSConnection if parts.scheme == "https" else _PublicHTTPConnection
        return kind(
            parts.hostname or "", parts.port or _PORTS[parts.scheme], timeout=min(_MAX_WAIT_SECONDS, _left(end))
        )

    def _body(self, response: HTTPResponse, shown: str, end: float) -> bytes:
        if response.status != HTTPStatus.OK:
            told = f"{shown}: its server answers {response.status} {response.reason}"
            raise DecodeError(told, _REASONS.get(response.status, "unavailable"))
        if response.length is not None and response.length > self.num_bytes:
            raise too_large(self.num_bytes)
        content = self._read(response.read1, end)
        if response.length:
            raise HTTPException(f"the server stopped {response.length} bytes before the end")
        return content

    def _read(self, read: Callable[[int], bytes], end: float) -> bytes:
        content = bytearray()
        while part := read(_PART_BYTES):
            content += part
            if len(content) > self.num_bytes:
                raise too_large(self.num_bytes)
            _left(end)
        return bytes(content)

    def _is_below_prefix(self, parts: SplitResult) -> bool:
        whole = _normal(parts)
        steps = unquote(parts.path).split("/")
        return not {".", ".."} & set(steps) and any(
            prefix != PUBLIC and whole.startswith(_normal(urlsplit(prefix))) for prefix in self.allowed
        )


def _split(url: str) -> SplitResult:
    """Raises a RefusedError where readers of URLs could understand it in more than one way."""
    try:
        parts = urlsplit(url)
        is_plain = parts.port is None or parts.port > 0
    except ValueError:
        is_plain = False
    # What follows a ? in a store's URI are options of the file system, among them another address.
    if (
        not is_plain
        or not parts.hostname
        or "\\" in url
        or min(url) < " "
        or url != url.strip()
        or (parts.scheme in _STORES and "?" in url)
    ):
        raise _refused("the URL, got one that cannot be understood; it should read like https://host/folder/video.mp4")
    return parts


def _normal(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}"


def _left(end: float) -> float:
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise DecodeError("the URL: not fetched within the time of a request", "slow")
    return seconds


def _refused(message: str) -> RefusedError:
    return RefusedError(HTTPStatus.FORBIDDEN, "url_refused", message)


def _asked(connection: HTTPConnection, url: str) -> HTTPResponse:
    parts = urlsplit(url)
    target = quote(parts.path or "/", safe=punctuation) + (
        f"?{quote(parts.query, safe=punctuation)}" * bool(parts.query)
    )
    connection.request("GET", target, headers={"User-Agent": "kinoray", "Accept-Encoding": "identity"})
    return connection.getresponse()


class _PublicHTTPConnection(HTTPConnection):
    def connect(self) -> None:
        self.sock = connect_public(self.host, self.port, self.timeout)


class _PublicHTTPSConnection(HTTPSConnection):
    def connect(self) -> None:
        plain = connect_public(self.host, self.port, self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)


def connect_public(host: str, port: int, timeout_seconds: float | None) -> socket:
    """A connection to a machine of the public internet, at an address that was looked at.

    Raises:
        RefusedError: one of its addresses is of this machine or of a private network.
        OSError: it cannot be reached.
    """
    addresses = list(dict.fromkeys(str(found[4][0]) for found in getaddrinfo(host, port, type=SOCK_STREAM)))
    if not all(map(is_public, addresses)):
        raise _refused("the URL, got a host that is no machine of the public internet")
    return create_connection((addresses[0], port), timeout_seconds)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        # Addresses of version 6 may carry one of version 4 to which a gateway passes on.
        if found.sixtofour or found.teredo or found in _NAT64:
            return False
        found = found.ipv4_mapped or found
    return found.is_global and not found.is_multicast
