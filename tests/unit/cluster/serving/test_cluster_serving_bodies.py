"""What a request carries, however it is sent, and what is refused of it."""

import asyncio
import json

import pytest

from kinoray.cluster.serving.answers import RefusedError
from kinoray.cluster.serving.bodies import FORM_BYTES, Body, file_in_form, read_body

VIDEO = bytes(range(256)) * 3 + b"\r\n--almost a mark\r\n\r\n"


def field(disposition: str, content: bytes, kind: str = "") -> bytes:
    kind = f"Content-Type: {kind}\r\n" if kind else ""
    return f"--mark\r\nContent-Disposition: form-data; {disposition}\r\n{kind}\r\n".encode() + content + b"\r\n"


def form(*fields: bytes) -> bytes:
    return b"".join(fields) + b"--mark--\r\n"


@pytest.fixture
def read(make_request):
    def read(parts: list[bytes], headers: dict[str, str], num_bytes: int = 10_000) -> Body:
        return asyncio.run(read_body(make_request("/", parts, headers), num_bytes))

    return read


@pytest.fixture
def refused(read):
    def refused(*arguments) -> tuple[int, str, str]:
        with pytest.raises(RefusedError) as caught:
            read(*arguments)
        return int(caught.value.status), caught.value.code, str(caught.value)

    return refused


@pytest.mark.parametrize("kind", ["video/mp4", "VIDEO/X-matroska; codecs=1", "application/octet-stream", None])
def test_a_file_as_it_is(read, kind):
    assert read([VIDEO[:100], VIDEO[100:]], {"Content-Type": kind} if kind else {}) == Body(content=VIDEO)


@pytest.mark.parametrize("boundary", ["mark", '"mark"'])
def test_a_file_in_a_form(read, boundary):
    sent = form(
        field('name="note"', b"first"),
        field('name="video"; filename="a b.mp4"', VIDEO, "video/mp4"),
        field('name="x"', b""),
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert read([sent[:90], sent[90:95], sent[95:]], headers) == Body(content=VIDEO)


def test_a_form_with_what_comes_before_it_and_an_empty_file():
    assert file_in_form(b"to be ignored\r\n" + form(field('name="f"; filename=""', b"")), b"mark", 9) == b""


def test_a_field_called_video_needs_no_name_of_a_file():
    assert file_in_form(form(field('name="video"', VIDEO)), b"mark", 10_000) == VIDEO


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "none of its boundaries"),
        (b"no form at all", "none of its boundaries"),
        (form(field('name="note"', b"first")), "no file"),
        (form(field('name="video"', VIDEO))[:200], "cut off"),
        (b"--mark\r\nContent-Disposition: form-data", "cut off"),
        (b"--mark", "cut off"),
        (form(*[field(f'name="f{index}"', b"") for index in range(40)]), "more than 32 fields"),
    ],
)
def test_what_is_no_form(refused, sent, message):
    status, code, told = refused([sent], {"Content-Type": "multipart/form-data; boundary=mark"})
    assert (status, code) == (400, "bad_request")
    assert message in told


@pytest.mark.parametrize("kind", ["multipart/form-data", f"multipart/form-data; boundary={'x' * 71}"])
def test_a_form_without_a_boundary(refused, kind):
    assert refused([b""], {"Content-Type": kind})[:2] == (400, "bad_request")


def test_a_url(read):
    sent = json.dumps({"url": "https://host/a.mp4"}).encode()
    assert read([sent], {"Content-Type": "application/json; charset=utf-8"}) == Body(url="https://host/a.mp4")


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b'"url"', b'{"url": 1}', b'{"url": "x", "more": 1}', b"[" * 50_000])
def test_json_that_is_no_url(refused, sent):
    assert refused([sent], {"Content-Type": "application/json"})[:2] == (400, "bad_request")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/html", "image/png"])
def test_an_unknown_type(refused, kind):
    status, code, told = refused([VIDEO], {"Content-Type": kind})
    assert (status, code) == (415, "media_type")
    assert kind in told


def test_sizes(read, refused):
    raw = {"Content-Type": "video/mp4"}
    assert read([b"x" * 6, b"x" * 4], raw, 10).content == b"x" * 10
    assert refused([b"x" * 6, b"x" * 5], raw, 10)[:2] == (413, "too_large")
    assert refused([], {**raw, "Content-Length": "11"}, 10)[:2] == (413, "too_large"), "told before a byte is read"
    sent = form(field('name="video"; filename="a"', b"x" * 11))
    assert refused([sent], {"Content-Type": "multipart/form-data; boundary=mark"}, 10)[:2] == (413, "too_large")
    assert refused([b" " * (FORM_BYTES + 1)], {"Content-Type": "application/json"})[:2] == (400, "bad_request")
