"""Files on web servers, http:// and https://."""

import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from string import punctuation
from typing import TypeVar
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from kinoray.video.limits import Deadline
from kinoray.video.ranged import StoredFile

_T = TypeVar("_T")
_TIMEOUT_SECONDS = 20.0
_LEAST_SECONDS = 0.01
_WAITS_SECONDS = (0.2, 0.6, 1.8)
# Timed out, too many requests, broken, bad gateway, busy, gateway timed out: the next try may do better.
_PASSING = {408, 429, 500, 502, 503, 504}
# Of one answer; servers that know no ranges send files whole.
_MAX_BODY_BYTES = 4 << 30
_PART_BYTES = 1 << 20
_PARTIAL = 206
_NO_SUCH_RANGE = 416


class _TooMuchError(OSError):
    """An answer that is too long."""


def open_web(url: str, whole_bytes: int, name: str, seconds: float) -> StoredFile:
    """Open a file and fetch it, in the same request, if it has at most ``whole_bytes`` or comes only whole.

    Args:
        url: of the file.
        whole_bytes: see there.
        name: what messages call it.
        seconds: that opening it may take, and each reading of a part.

    Raises:
        OSError: it cannot be had, after a few tries where that may pass.
        DecodeError: reason ``slow``.
    """

    def fetch(deadline: Deadline) -> StoredFile:
        try:
            response = _request(url, 0, None, deadline)
        except HTTPError as error:
            if error.code == _NO_SUCH_RANGE:  # of an empty file there is no first byte
                error.close()
                return StoredFile(0, b"", read_at)
            raise
        with response:
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            if response.status == _PARTIAL and total.isdigit() and int(total) > whole_bytes:
                return StoredFile(int(total), None, read_at)
            content = _body(response, deadline)
        return StoredFile(len(content), content, read_at)

    def read_at(num_bytes: int, offset: int) -> bytes:
        def fetch_part(deadline: Deadline) -> bytes:
            with _request(url, offset, offset + num_bytes, deadline) as response:
                if response.status != _PARTIAL:
                    raise HTTPException("the server no longer sends parts of it")
                return _body(response, deadline)

        return _with_retries(fetch_part, Deadline(name, seconds))

    return _with_retries(fetch, Deadline(name, seconds))


def _request(url: str, start: int, stop: int | None, deadline: Deadline) -> HTTPResponse:
    deadline.check()
    headers = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}", "User-Agent": "kinoray"}
    response: HTTPResponse = urlopen(  # noqa: S310 - called for http and https alone
        Request(quote(url, safe=punctuation), headers=headers),  # noqa: S310 - blanks and accents as browsers take them
        timeout=min(_TIMEOUT_SECONDS, max(deadline.seconds_left, _LEAST_SECONDS)),
    )
    return response


def _body(response: HTTPResponse, deadline: Deadline) -> bytes:
    """All that the server sends: some never end, others send a byte now and then."""
    content = bytearray()
    while part := response.read1(_PART_BYTES):
        content += part
        deadline.check()
        if len(content) > _MAX_BODY_BYTES:
            raise _TooMuchError(f"more than {_MAX_BODY_BYTES >> 20} MiB in one answer")
    if response.length:
        raise HTTPException(f"the server stopped {response.length} bytes before the end")
    return bytes(content)


def _with_retries(fetch: Callable[[Deadline], _T], deadline: Deadline) -> _T:
    for wait_seconds in (*_WAITS_SECONDS, None):
        try:
            return fetch(deadline)
        except (OSError, HTTPException) as error:
            deadline.check()
            may_pass = error.code in _PASSING if isinstance(error, HTTPError) else not isinstance(error, _TooMuchError)
            failure = _as_os_error(error)
            if wait_seconds is None or not may_pass:
                raise failure from error
        time.sleep(wait_seconds)
    raise AssertionError("the last try returns or raises")


def _as_os_error(error: OSError | HTTPException) -> OSError:
    if isinstance(error, HTTPError):
        error.close()
        kinds = {401: PermissionError, 403: PermissionError, 404: FileNotFoundError, 410: FileNotFoundError}
        return kinds.get(error.code, OSError)(f"the server answers {error.code} {error.reason}")
    return error if isinstance(error, OSError) else OSError(str(error) or type(error).__name__)
