"""One way to open whatever holds a video: a file, bytes, an address, a folder of pictures."""

import os
from typing import BinaryIO, Literal

from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader
from kinoray.video.files import named_failures, open_video_file, without_passwords
from kinoray.video.frame_folder import FRAMES_PER_SECOND, FrameFolder
from kinoray.video.limits import Limits
from kinoray.video.packets import PacketIndex
from kinoray.video.shards import is_shard_path, read_shard_video
from kinoray.video.stores import local_path
from kinoray.video.torchcodec_reader import TorchcodecReader, check_torchcodec
from kinoray.video.video import Video

Backend = Literal["pyav", "torchcodec", "nvdec"]
"""What decodes files: PyAV; torchcodec; torchcodec on a GPU's video decoder. Pictures of a folder are PyAV's always."""

_DEVICES = {"torchcodec": "cpu", "nvdec": "cuda"}
_LIMITS = Limits()


def check_backend(backend: Backend) -> None:
    """Raise a ResourceError that says what to install for a backend.

    Whether there is a GPU is for the process that decodes to see: the one that starts a run on a cluster needs none.
    """
    if backend != "pyav":
        check_torchcodec("cpu")


def open_video(
    source: str | bytes | BinaryIO,
    *,
    name: str | None = None,
    max_missing: float = 0.1,
    index: PacketIndex | None = None,
    limits: Limits = _LIMITS,
    frame_template: str | None = None,
    frame_fps: float | None = None,
    backend: Backend = "pyav",
) -> Video:
    """Open a video.

    Args:
        source: a path or URI of a file, of a video in a shard, or of a folder of pictures (see ``FrameFolder``); the
            content, or a file.
        name: what messages call the video; the path where there is one.
        max_missing: largest fraction of the frames asked for that may be filled with their neighbours.
        index: of the file's packets; with it, only what is needed of a large remote file is fetched.
        limits: what the video may cost.
        frame_template: name of a folder's pictures, e.g. ``img_{:05d}.jpg``; None finds it out.
        frame_fps: of a folder's pictures; None is 30.
        backend: what decodes a file; all but PyAV know no ``max_missing``, see ``TorchcodecReader``.

    Raises:
        DecodeError: there is no such video, or none of its frames can be decoded.
        ResourceError: the backend cannot be used here.
    """

    def open_folder(path: str) -> FrameFolder:
        return FrameFolder(
            path,
            template=frame_template,
            fps=frame_fps or FRAMES_PER_SECOND,
            name=name,
            max_missing=max_missing,
            limits=limits,
        )

    if isinstance(source, str):
        name = name or without_passwords(source)
        with named_failures(source):
            local = local_path(source)
        # Path.is_dir raises where a folder may not be searched or a name is too long.
        if source.endswith("/") or (local is not None and os.path.isdir(local)):  # noqa: PTH112
            return open_folder(source)
        try:
            file = (
                read_shard_video(source)
                if is_shard_path(source)
                else open_video_file(source, ranged=index is not None, max_seconds=limits.seconds)
            )
        except DecodeError as error:
            # A store knows no folders, only names that begin alike: asking first would cost each video a request.
            if local is not None or error.reason != "missing":
                raise
            try:
                return open_folder(source)
            except DecodeError as other:
                raise (error if other.reason in {"missing", "no_video"} else other) from None
    else:
        file = source
    if backend != "pyav":
        return TorchcodecReader(file, name=name, index=index, limits=limits, device=_DEVICES[backend])
    return VideoReader(file, name=name, max_missing=max_missing, index=index, limits=limits)
