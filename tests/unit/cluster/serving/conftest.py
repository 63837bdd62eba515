"""Requests as a server hands them on, without a server."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from starlette.requests import Request


@pytest.fixture
def make_request() -> Callable[..., Request]:
    """``make_request("/path?query", [b"part", b"part"], {"Content-Type": "..."}, method="POST", ends=True)``."""

    def make(
        target: str = "/",
        parts: Sequence[bytes] = (),
        headers: dict[str, str] | None = None,
        *,
        method: str = "POST",
        ends: bool = True,
    ) -> Request:
        waiting = iter(parts)

        async def receive():
            part = next(waiting, None)
            if part is None and not ends:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": part or b"", "more_body": part is not None}

        path, _, query = target.partition("?")
        pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = {"type": "http", "method": method, "path": path, "headers": pairs, "query_string": query.encode()}
        return Request(scope | {"server": ("127.0.0.1", 8000), "scheme": "http"}, receive)

    return make
