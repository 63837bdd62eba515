"""From a request to its answer, with a real model and real videos, but neither a server nor Ray."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import pytest
import torch
from starlette.responses import Response

from kinoray.cluster.serving import service as module
from kinoray.cluster.serving.service import Clip, ClipScores, Service, ServiceLimits
from kinoray.predict.scoring import Scorer
from kinoray.recognizer import VideoRecognizer
from kinoray.train.batch import clip_on
from kinoray.video.open import open_video

RAW = {"Content-Type": "video/mp4"}
LIMITS = ServiceLimits(seconds=20.0, num_bytes=1_000_000, num_requests=4)


@pytest.fixture(scope="module")
def recognizer(motion8):
    from kinoray.recipe import Recipe

    view = {"source": str(motion8 / "val.csv"), "sampling": {"clip_len": 4, "frame_interval": 2}, "crop": 32}
    values = {
        "model": {"kind": "tiny3d", "num_classes": 8},
        "data": {"train": {**view, "batch_size": 8}, "val": {**view, "batch_size": 4}},
        "optimizer": {"kind": "sgd", "lr": 0.05},
        "training": {"epochs": 1},
    }
    recipe = Recipe.from_mapping(values, "test")
    torch.manual_seed(0)
    classes = tuple(f"class {index}" for index in range(8))
    return VideoRecognizer(recipe.model.build().eval(), recipe.data.evaluation_split("val"), classes, "probability")


@pytest.fixture
def video(motion8):
    return next((motion8 / "videos").rglob("*.mp4"))


@pytest.fixture
def make_service(recognizer) -> Callable[..., Service]:
    scorer = Scorer(recognizer, precision="fp32", compiled=False, with_embeddings=False)

    async def score(clip: Clip) -> ClipScores:
        scored = scorer(clip_on(clip.clip, clip.colour, scorer.device))
        return ClipScores(scored.scores[0], 1, scored.seconds)

    def make(limits: ServiceLimits = LIMITS, score: Callable[[Clip], Awaitable[ClipScores]] = score) -> Service:
        return Service("model", recognizer.classes, recognizer.view, score, limits, num_threads=1, top=5)

    return make


async def never(_clip: Clip) -> ClipScores:
    await asyncio.Event().wait()
    raise AssertionError


def told(response: Response) -> tuple[int, dict]:
    return response.status_code, json.loads(response.body)


def ask(service: Service, request) -> tuple[int, dict]:
    return told(asyncio.run(service.answer(request)))


def test_the_answer_is_what_the_recognizer_says(make_service, make_request, recognizer, video):
    status, answer = ask(make_service(), make_request("/recognize", [video.read_bytes()], RAW))
    assert status == HTTPStatus.OK
    assert [(row["label"], row["score"]) for row in answer["top"]] == recognizer.recognize(video).top(5)
    assert answer["video"]["codec"] == "h264"
    assert answer["video"]["num_frames"] > 0
    assert (answer["model"], answer["batch_size"]) == ("model", 1)


@pytest.mark.parametrize(("top", "num_labels"), [("1", 1), ("8", 8)])
def test_as_many_labels_as_are_asked_for(make_service, make_request, video, top, num_labels):
    _, answer = ask(make_service(), make_request(f"/recognize?top={top}", [video.read_bytes()], RAW))
    assert len(answer["top"]) == num_labels


@pytest.mark.parametrize("top", ["0", "9", "-1", "all", ""])
def test_a_number_of_labels_that_cannot_be(make_service, make_request, top):
    status, answer = ask(make_service(), make_request(f"/recognize?top={top}", [], RAW))
    assert (status, answer["error"]) == (400, "bad_request")
    assert "from 1 to 8" in answer["message"]


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", "empty"), (b"no video at all", "unreadable"), (b"#EXTM3U\n/etc/passwd\n", "unreadable")],
)
def test_what_is_no_video(make_service, make_request, content, error):
    status, answer = ask(make_service(), make_request("/recognize", [content], RAW))
    assert (status, answer["error"]) == (400, error)
    assert answer["message"].startswith("the video")


def test_a_video_that_is_cut_off(make_service, make_request, video):
    status, answer = ask(make_service(), make_request("/recognize", [video.read_bytes()[:800]], RAW))
    assert status == HTTPStatus.BAD_REQUEST
    assert answer["error"] in {"unreadable", "damaged"}


def test_other_paths(make_service, make_request):
    service = make_service()
    assert ask(service, make_request("/labels", method="GET"))[1]["labels"][0] == "class 0"
    status, health = ask(service, make_request("/health/", method="GET"))
    assert (status, health["status"], health["num_classes"], health["num_active"]) == (200, "ok", 8, 0)
    assert ask(service, make_request("/", method="GET"))[0] == HTTPStatus.NOT_FOUND
    response = asyncio.run(service.answer(make_request("/recognize", method="GET")))
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_a_url(make_service, make_request, video, monkeypatch):
    monkeypatch.setattr(module.Fetcher, "fetch", lambda _self, url, _seconds: video.read_bytes())
    sent = [json.dumps({"url": "s3://bucket/in/video.mp4"}).encode()]
    headers = {"Content-Type": "application/json"}
    assert ask(make_service(), make_request("/recognize", sent, headers))[0] == HTTPStatus.FORBIDDEN
    allowed = ServiceLimits(20.0, 1_000_000, 4, urls=("s3://bucket/in/",))
    assert ask(make_service(allowed), make_request("/recognize", sent, headers))[0] == HTTPStatus.OK


def test_a_busy_server(make_service, make_request, video):
    service = make_service(ServiceLimits(20.0, 1_000_000, num_requests=1), never)

    async def two() -> Response:
        first = asyncio.create_task(service.answer(make_request("/recognize", [video.read_bytes()], RAW)))
        await asyncio.sleep(0.01)
        second = await service.answer(make_request("/recognize", [], RAW))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return second

    response = asyncio.run(two())
    assert told(response)[0] == HTTPStatus.SERVICE_UNAVAILABLE
    assert json.loads(response.body)["error"] == "busy"
    assert response.headers["retry-after"] == "1"
    _, health = ask(service, make_request("/health", method="GET"))
    assert (health["num_active"], health["num_answered"]) == (0, 0), "a request that was called off leaves its place"


def test_a_request_that_does_not_end(make_service, make_request):
    service = make_service(ServiceLimits(0.05, 1_000_000, 4))
    status, answer = ask(service, make_request("/recognize", [b"some"], RAW, ends=False))
    assert (status, answer["error"]) == (408, "timeout")


def test_a_model_that_does_not_answer(make_service, make_request, video):
    service = make_service(ServiceLimits(0.5, 1_000_000, 4), never)
    status, answer = ask(service, make_request("/recognize", [video.read_bytes()], RAW))
    assert (status, answer["error"]) == (504, "timeout")


def test_a_reader_that_hangs(make_service, make_request, monkeypatch):
    go_on = threading.Event()

    def hang(*_arguments, **_settings):
        go_on.wait(20)
        raise MemoryError

    monkeypatch.setattr(module, "open_video", hang)
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.05)
    service = make_service(ServiceLimits(0.1, 1_000_000, 4))

    async def hangs() -> tuple[Response, Response]:
        asked = asyncio.create_task(service.answer(make_request("/recognize", [b"x"], RAW)))
        await asyncio.sleep(0.05)
        early = await service.answer(make_request("/health", method="GET"))
        assert early.status_code == HTTPStatus.OK, "the loop stays free while a thread decodes"
        answer = await asked
        await asyncio.sleep(0.2)
        late = await service.answer(make_request("/health", method="GET"))
        assert service.hangs
        go_on.set()
        return answer, late

    answer, late = asyncio.run(hangs())
    assert told(answer)[0] == HTTPStatus.GATEWAY_TIMEOUT
    assert (told(late)[0], told(late)[1]["error"]) == (503, "hangs")
    service._decoders.shutdown()
    assert not service.hangs


def test_what_is_called_off_keeps_its_thread_and_nothing_else(make_service, make_request, video, monkeypatch):
    go_on, read = threading.Event(), []

    def wait(content, **settings):
        read.append(content)
        go_on.wait(20)
        return open_video(content, **settings)

    monkeypatch.setattr(module, "open_video", wait)
    service = make_service()

    async def some() -> Response:
        running, waiting, last = (
            asyncio.create_task(service.answer(make_request("/recognize", [content], RAW)))
            for content in (b"running", b"waiting", video.read_bytes())
        )
        while not read:
            await asyncio.sleep(0.01)
        running.cancel()
        waiting.cancel()
        await asyncio.sleep(0.05)
        assert read == [b"running"], "its thread is not free before it ends"
        go_on.set()
        return await last

    assert asyncio.run(some()).status_code == HTTPStatus.OK
    assert read == [b"running", video.read_bytes()]


def test_a_model_that_fails(make_service, make_request, video, caplog):
    async def fail(_clip: Clip) -> ClipScores:
        raise RuntimeError("a secret of the model")

    status, answer = ask(make_service(score=fail), make_request("/recognize", [video.read_bytes()], RAW))
    assert (status, answer["error"]) == (500, "internal")
    assert "secret" not in answer["message"]
    assert "a secret of the model" in caplog.text
