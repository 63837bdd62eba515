"""A process of the server: the model, threads that decode for it, and Ray Serve's batching of what they decode."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import ray
import torch
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from kinoray.cluster.serving.service import Clip, ClipScores, Service, Serving
from kinoray.errors import ResourceError
from kinoray.predict.scoring import Scorer
from kinoray.train.batch import clip_on


class Replica:
    """Serves one copy of the model."""

    def __init__(self, serving: Serving) -> None:
        torch.set_num_threads(serving.model_threads)
        asked = serving.request
        recognizer = asked.open_model("cuda" if ray.get_gpu_ids() else "cpu")
        self._scorer = Scorer(recognizer, precision=asked.precision, compiled=asked.compiled, with_embeddings=False)
        self._model_thread = ThreadPoolExecutor(1, thread_name_prefix="kinoray-model")
        self._scores([Clip(asked.view.blank(), 0)])  # the first request is not to pay for what is made once
        self._score.set_max_batch_size(asked.batch_size)
        self._score.set_batch_wait_timeout_s(serving.batch_wait_seconds)
        self._service = Service(
            asked.model.rstrip("/").rpartition("/")[2],  # where it lies is no business of clients
            recognizer.classes,
            asked.view,
            self._score,
            serving.limits,
            num_threads=serving.decode_threads,
            top=serving.top,
        )

    async def __call__(self, request: Request) -> Response:
        return await self._service.answer(request)

    def check_health(self) -> None:
        """Ray Serve asks this now and then, and replaces a replica that raises."""
        if self._service.hangs:
            raise ResourceError("a video is being read that cannot be interrupted")

    @serve.batch  # type: ignore[untyped-decorator]  # of Ray's own partial annotations
    async def _score(self, clips: list[Clip]) -> list[ClipScores]:
        return await asyncio.get_running_loop().run_in_executor(self._model_thread, self._scores, clips)

    def _scores(self, clips: list[Clip]) -> list[ClipScores]:
        device = self._scorer.device
        scored = self._scorer(torch.cat([clip_on(clip, colour, device) for clip, colour in clips]))
        return [ClipScores(scores, len(clips), scored.seconds) for scores in scored.scores]
