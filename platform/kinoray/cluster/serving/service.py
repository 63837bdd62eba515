"""From a request to its answer: takes in, decodes and answers many at a time; knows nothing of Ray."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

import kinoray
from kinoray.cluster.serving.addresses import Fetcher
from kinoray.cluster.serving.answers import RefusedError, bad_request, json_response, refusal_of_video
from kinoray.cluster.serving.bodies import read_body
from kinoray.data.reading import facts_of
from kinoray.data.rows import VideoFacts
from kinoray.data.views import EvalView
from kinoray.errors import DataError
from kinoray.metrics import ranked
from kinoray.predict.request import Request as Asked
from kinoray.video.limits import Limits
from kinoray.video.open import open_video

GRACE_SECONDS = 5.0
"""After its time, for a reader to end by itself; beyond that it hangs where nothing can interrupt it."""
_NUM_FETCHERS = 8
_METHODS = {"/recognize": "POST", "/health": "GET", "/labels": "GET"}
_SHOWN = ("codec", "width", "height", "fps", "duration_seconds", "num_frames")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServiceLimits:
    """What requests may cost.

    Attributes:
        seconds: from the first byte of a request to its answer; as much for reading its video.
        num_bytes: of a video.
        num_requests: taken in at a time, by each replica; others are told to come back.
        urls: that are fetched, see ``Fetcher.allowed``.
    """

    seconds: float
    num_bytes: int
    num_requests: int
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Serving:
    """What replicas are told.

    Attributes:
        request: the model, its views, and how it computes.
        limits: of requests.
        batch_wait_seconds: that a video waits for others to be scored with.
        top: labels of an answer.
        model_threads: of one replica, for the model.
        decode_threads: of one replica.
    """

    request: Asked
    limits: ServiceLimits
    batch_wait_seconds: float
    top: int
    model_threads: int = 1
    decode_threads: int = 1


class Clip(NamedTuple):
    """What the model looks at of one video, as in ``Views``."""

    clip: NDArray[np.uint8]
    colour: int


class ClipScores(NamedTuple):
    """``(K,)`` scores, with how many videos were scored at the same time, and in how many seconds."""

    scores: NDArray[np.float32]
    batch_size: int
    seconds: float


Score = Callable[[Clip], Awaitable[ClipScores]]


class Service:
    """Answers requests.

    Args:
        model: what messages call the model.
        classes: K names.
        view: how a video becomes a clip.
        score: scores one, perhaps with those of other requests.
        limits: of requests.
        num_threads: that decode.
        top: labels of an answer, where a request asks for no other number.
    """

    def __init__(
        self,
        model: str,
        classes: tuple[str, ...],
        view: EvalView,
        score: Score,
        limits: ServiceLimits,
        *,
        num_threads: int,
        top: int,
    ) -> None:
        self._model, self._classes, self._view, self._score = model, classes, view, score
        self._limits, self._top = limits, top
        self._fetcher = Fetcher(limits.urls, limits.num_bytes)
        self._decoders = ThreadPoolExecutor(num_threads, thread_name_prefix="kinoray-decode")
        self._free_threads = asyncio.Semaphore(num_threads)
        self._fetchers = ThreadPoolExecutor(_NUM_FETCHERS, thread_name_prefix="kinoray-fetch")
        self._num_active = self._num_answered = 0
        self._reading: dict[int, float] = {}  # since when, by thread

    @property
    def hangs(self) -> bool:
        """Whether a video is being read that should have ended long ago."""
        oldest = min(list(self._reading.values()), default=time.monotonic())
        # Opening and reading may each take their time.
        return time.monotonic() - oldest > 2 * self._limits.seconds + GRACE_SECONDS

    async def answer(self, request: Request) -> Response:
        """Never raises, but where the request is called off."""
        try:
            return await self._routed(request)
        except RefusedError as refusal:
            return refusal.response()
        except ClientDisconnect:
            return bad_request("the request, got one that was broken off").response()
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the reason
            _log.exception("a request failed")
            message = "the server failed at this request; its log says why"
            return RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", message).response()

    async def _routed(self, request: Request) -> Response:
        path = request.url.path.rstrip("/")
        if path not in _METHODS:
            message = f"the path, got '{path or '/'}'; there are {', '.join(_METHODS)}"
            raise RefusedError(HTTPStatus.NOT_FOUND, "not_found", message)
        if request.method != _METHODS[path]:
            message = f"the method, got {request.method}; {path} takes {_METHODS[path]}"
            allowed = {"Allow": _METHODS[path]}
            raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "method", message, allowed)
        if path == "/labels":
            return json_response({"labels": self._classes})
        return self._health() if path == "/health" else await self._admitted(request)

    def _health(self) -> Response:
        self._check_hangs()
        return json_response(
            {
                "status": "ok",
                "model": self._model,
                "num_classes": len(self._classes),
                "num_active": self._num_active,
                "num_answered": self._num_answered,
                "kinoray": kinoray.__version__,
            }
        )

    def _check_hangs(self) -> None:
        if self.hangs:
            message = "a video is being read that cannot be interrupted; this replica will be replaced"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "hangs", message, {"Retry-After": "10"})

    async def _admitted(self, request: Request) -> Response:
        self._check_hangs()
        top = self._asked_top(request)
        if self._num_active >= self._limits.num_requests:
            message = f"the server is busy with {self._num_active} requests; send this one again in a second"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", message, {"Retry-After": "1"})
        self._num_active += 1
        try:
            response = await self._recognized(request, top)
            self._num_answered += 1
        finally:
            self._num_active -= 1
        return response

    async def _recognized(self, request: Request, top: int) -> Response:
        end = time.monotonic() + self._limits.seconds
        async with _within(end, HTTPStatus.REQUEST_TIMEOUT, "the request, got one that is not all here"):
            body = await read_body(request, self._limits.num_bytes)
        loop = asyncio.get_running_loop()
        async with _within(end, HTTPStatus.GATEWAY_TIMEOUT, "the video, got one that is not scored"):
            content = body.content
            if body.url is not None:
                self._fetcher.check(body.url)
                content = await loop.run_in_executor(
                    self._fetchers, self._fetcher.fetch, body.url, end - time.monotonic()
                )
            if not content:
                raise RefusedError(HTTPStatus.BAD_REQUEST, "empty", "the video, got no bytes")
            del body
            clip, facts, seconds = await self._decoded(content)
            scored = await self._score(clip)
        best = ranked(scored.scores[None])[0, ::-1][:top].tolist()
        return json_response(
            {
                "top": [{"label": self._classes[index], "score": float(scored.scores[index])} for index in best],
                "video": {name: facts.get(name) for name in _SHOWN},
                "model": self._model,
                "decode_ms": round(seconds * 1000, 1),
                "model_ms": round(scored.seconds * 1000, 1),
                "batch_size": scored.batch_size,
            }
        )

    async def _decoded(self, content: bytes) -> tuple[Clip, VideoFacts, float]:
        """Waits for a thread; it is taken until it ends, also where the request was called off.

        Videos never wait in the threads' own queue: what is there stays in memory after its request is gone.
        """
        await self._free_threads.acquire()
        loop = asyncio.get_running_loop()

        def give_back(_future: object) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._free_threads.release)

        future = self._decoders.submit(self._read, content)
        future.add_done_callback(give_back)
        return await asyncio.wrap_future(future)

    def _read(self, content: bytes) -> tuple[Clip, VideoFacts, float]:
        """Runs in a thread: decoding lets go of the interpreter's lock."""
        started = time.monotonic()
        self._reading[threading.get_ident()] = started
        try:
            with open_video(content, name="the video", limits=Limits(seconds=self._limits.seconds)) as video:
                facts = facts_of(video)
                views = self._view.read(video, range(video.num_frames))
        except (DataError, MemoryError) as problem:
            raise refusal_of_video(problem) from None
        finally:
            del self._reading[threading.get_ident()]
        return Clip(views.clip, views.colour), facts, time.monotonic() - started

    def _asked_top(self, request: Request) -> int:
        text = request.query_params.get("top", str(self._top))
        if not text.isdecimal() or not 0 < int(text) <= len(self._classes):
            raise bad_request(f"top, got '{text[:20]}'; it should be from 1 to {len(self._classes)}")
        return int(text)


@asynccontextmanager
async def _within(end: float, status: HTTPStatus, message: str) -> AsyncIterator[None]:
    """Refuses with that status what is not done at ``end``, of ``time.monotonic``."""
    try:
        async with asyncio.timeout(max(0.0, end - time.monotonic())):
            yield
    except TimeoutError:
        raise RefusedError(status, "timeout", f"{message} within the time of a request") from None
