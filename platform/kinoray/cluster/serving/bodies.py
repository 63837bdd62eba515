"""What a request carries: a video as it is, in a form, or the URL of one."""

import json
import re
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus
from typing import NamedTuple

from starlette.requests import Request

from kinoray.cluster.serving.answers import RefusedError, bad_request, too_large

FORM_BYTES = 1 << 16
"""That a form, or the JSON of a URL, may have beside the video."""
_MAX_FIELDS = 32
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_HOW = 'send the file as it is with \'Content-Type: video/mp4\', a form with the file, or JSON as in {"url": "..."}'


class Body(NamedTuple):
    """One of both: the video, or where it lies."""

    content: bytes | None = None
    url: str | None = None


async def read_body(request: Request, num_bytes: int) -> Body:
    """Read a request.

    Args:
        request: to recognize a video.
        num_bytes: that the video may have.

    Raises:
        RefusedError: it is too large, of an unknown type, or not what its type says.
    """
    kind = request.headers.get("content-type", "application/octet-stream")
    name = kind.partition(";")[0].strip().lower()
    if name == "application/json":
        return Body(
            url=_url_in(await _received(request, FORM_BYTES, bad_request("the JSON, got more than a URL needs")))
        )
    if name == "multipart/form-data":
        boundary = _boundary_of(kind)
        form = await _received(request, num_bytes + FORM_BYTES, too_large(num_bytes))
        return Body(file_in_form(form, boundary, num_bytes))
    if name == "application/octet-stream" or name.startswith("video/"):
        return Body(bytes(await _received(request, num_bytes, too_large(num_bytes))))
    message = f"Content-Type, got '{name[:80]}'; {_HOW}"
    raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media_type", message)


async def _received(request: Request, num_bytes: int, refused: RefusedError) -> bytearray:
    """All that is sent; of more than is allowed, which is refused, no more is kept."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > num_bytes:
        raise refused
    content = bytearray()
    async for part in request.stream():
        if len(content) + len(part) > num_bytes:
            raise refused
        content += part
    return content


def _url_in(text: bytearray) -> str:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or values.keys() != {"url"} or not isinstance(values["url"], str):
        raise bad_request('the JSON, got something else than {"url": "..."}')
    return str(values["url"])


def _boundary_of(content_type: str) -> bytes:
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary("")
    if not _BOUNDARY.fullmatch(boundary):
        raise bad_request("multipart/form-data, got no usable boundary in its Content-Type")
    return boundary.encode()


def file_in_form(form: bytes | bytearray, boundary: bytes, num_bytes: int) -> bytes:
    """The content of the first field of a form that is a file, or is called ``video``.

    Raises:
        RefusedError: there is none, it has more than ``num_bytes``, or the form is cut off.
    """
    for head, start, stop in _fields(form, boundary):
        name = head.get_param("name", header="content-disposition")
        if head.get_filename() is None and name != "video":
            continue
        if stop - start > num_bytes:
            raise too_large(num_bytes)
        return bytes(memoryview(form)[start:stop])
    raise bad_request("the form, got no file in it; curl sends one with -F video=@FILE")


def _fields(form: bytes | bytearray, boundary: bytes) -> Iterator[tuple[Message, int, int]]:
    """Each field's headers, and where its content begins and ends."""
    mark = b"--" + boundary
    at = 0 if form.startswith(mark) else form.find(b"\r\n" + mark) + 2
    if not form.startswith(mark, at):
        raise bad_request("the form, got none of its boundaries")
    for _ in range(_MAX_FIELDS):
        at += len(mark)
        if form.startswith(b"--", at):
            return
        start = form.find(b"\r\n\r\n", at, at + FORM_BYTES) + 4
        stop = form.find(b"\r\n" + mark, start)
        if start < 4 or stop < 0:
            raise bad_request("the form, got one that is cut off")
        yield BytesParser().parsebytes(bytes(form[at : start - 2]).lstrip(), headersonly=True), start, stop
        at = stop + 2
    raise bad_request(f"the form, got more than {_MAX_FIELDS} fields")
