"""How people read clips with each library: one function a library, all given the same shots.

Each opens the video, makes uint8 pictures of every shot, ``(T, 224, 224, 3)`` unless its name says otherwise, and
keeps them no longer than one shot. All use one thread.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from kinoray.video.convert import Converter
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Box, Shot
from kinoray.video.packets import PacketIndex
from kinoray.video.probe import probe

Read = Callable[[str, Sequence[Shot]], None]
# Full-size pictures that libraries are asked for at once; torchcodec starts anew from a keyframe at every call.
_CHUNK = 400
# Reading on over so many frames is cheaper than seeking.
_NEAR = 64


class Worker:
    """A training worker that reads a prepared manifest: it has packet indices, and memory that was in use before."""

    def __init__(self) -> None:
        self._indices: dict[str, PacketIndex] = {}
        self._memory = np.ones(0, np.uint8)

    def prepare(self, path: str, shots: Sequence[Shot]) -> None:
        """What is not part of a reading: look up the index, and touch as much memory as the largest pictures take."""
        if path not in self._indices:
            with VideoReader(path) as video:
                self._indices[path] = video.packet_index()
        height, width = self._indices[path].height, self._indices[path].width
        native = height * width + 2 * -(-height // 2) * -(-width // 2)
        num_bytes = sum(len(shot.indices) for shot in shots) * max(native, *_picture_bytes(shots))
        if len(self._memory) < num_bytes:
            self._memory = np.ones(num_bytes, np.uint8)

    def rgb(self, path: str, shots: Sequence[Shot]) -> None:
        """RGB, as ``ours``."""
        with VideoReader(path, index=self._indices[path]) as video:
            video.read_shots(self._placed(video, shots, planes=False))

    def yuv(self, path: str, shots: Sequence[Shot]) -> None:
        """YUV 4:2:0 at the shots' size, for conversion on the device."""
        with VideoReader(path, index=self._indices[path]) as video:
            video.read_planes(self._placed(video, shots, planes=True))

    def native(self, path: str, shots: Sequence[Shot]) -> None:
        """YUV 4:2:0 of the shots' crops at the video's size, for resizing and conversion on the device."""
        with VideoReader(path, index=self._indices[path]) as video:
            native = [replace(shot, size=None) for shot in shots]
            video.read_planes(self._placed(video, native, planes=True))

    def _placed(self, video: VideoReader, shots: Sequence[Shot], *, planes: bool) -> list[Shot]:
        """The shots, one behind the other in the memory at hand."""
        placed, start = [], 0
        for shot in shots:
            picture = Converter((video.height, video.width), shot.crop, shot.size, planes=planes).shape
            stop = start + len(shot.indices) * math.prod(picture)
            out = self._memory[start:stop].reshape(len(shot.indices), *picture)
            placed.append(replace(shot, out=out))
            start = stop
        return placed


def _picture_bytes(shots: Sequence[Shot]) -> list[int]:
    """Of each shot's RGB pictures."""
    return [3 * math.prod(shot.size) for shot in shots if shot.size is not None]


def available(worker: Worker) -> dict[str, Read]:
    """Name -> function, of the libraries that are installed; the order is the tables'."""
    readers: dict[str, Read] = {
        "ours": ours,
        "ours prepared": worker.rgb,
        "ours yuv": worker.yuv,
        "ours native": worker.native,
    }
    has_cv2 = _cv2() is not None
    if has_cv2 and find_spec("decord") is not None:
        readers |= {"decord": decord, "decord scaled": decord_scaled}
    if has_cv2 and _torchcodec_works():
        readers["torchcodec"] = torchcodec
    if has_cv2:
        readers["opencv"] = opencv
    readers["pyav"] = pyav
    return readers


def _torchcodec_works() -> bool:
    """Whether it is installed and finds FFmpeg's shared libraries on this machine."""
    if find_spec("torchcodec") is None:
        return False
    try:
        import_module("torchcodec.decoders")
        import_module("torch").set_num_threads(1)  # the others wait for work in a loop, which counts as CPU time
    except (ImportError, RuntimeError, OSError):
        return False
    return True


def ours(path: str, shots: Sequence[Shot]) -> None:
    """RGB, all shots in one pass, of a file that nothing is known about; into new memory, as with the others."""
    with VideoReader(path) as video:
        video.read_shots(shots)


def decord(path: str, shots: Sequence[Shot]) -> None:
    """As MMAction2's DecordInit and DecordDecode: full-size RGB, then OpenCV."""
    video = import_module("decord").VideoReader(path, num_threads=1)
    for shot in shots:
        for part in _chunks(shot.indices):
            _resized(video.get_batch(part).asnumpy(), shot)


def decord_scaled(path: str, shots: Sequence[Shot]) -> None:
    """Pictures scaled by decord itself so that the crop has its size; takes a reader for each size of crop."""
    height, width = _size(path)
    videos: dict[tuple[int, int], Any] = {}
    for shot in shots:
        assert shot.crop is not None
        assert shot.size is not None
        size = round(height * shot.size[0] / shot.crop.height), round(width * shot.size[1] / shot.crop.width)
        if size not in videos:
            videos[size] = import_module("decord").VideoReader(path, num_threads=1, height=size[0], width=size[1])
        top, left = round(shot.crop.top * size[0] / height), round(shot.crop.left * size[1] / width)
        for part in _chunks(shot.indices):
            batch = videos[size].get_batch(part).asnumpy()
            np.ascontiguousarray(batch[:, top : top + shot.size[0], left : left + shot.size[1]])


@cache
def _size(path: str) -> tuple[int, int]:
    info = probe(path)
    return info.height, info.width


def torchcodec(path: str, shots: Sequence[Shot]) -> None:
    """Exact mode; all frames of a video in ascending order, so that it decodes none twice."""
    decoder = import_module("torchcodec.decoders").VideoDecoder(
        path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact"
    )
    outs = [_empty(shot) for shot in shots]
    for part in _chunks(np.unique(np.concatenate([shot.indices for shot in shots]))):
        for index, picture in zip(part, decoder.get_frames_at(part.tolist()).data.numpy(), strict=True):
            _spread(index, picture, shots, outs)


def opencv(path: str, shots: Sequence[Shot]) -> None:
    """``VideoCapture``: seek to the first frame of a clip, then read on."""
    cv2 = _cv2()
    video = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    for shot in shots:
        out = _empty(shot)
        position = None
        for index, target in zip(shot.indices.tolist(), out, strict=True):
            if position is None or not 0 <= index - position < _NEAR:
                video.set(cv2.CAP_PROP_POS_FRAMES, index)
                position = index
            while position < index:
                video.grab()
                position += 1
            is_read, picture = video.read()
            position += 1
            if is_read:
                _resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), shot, target)
    video.release()


def pyav(path: str, shots: Sequence[Shot]) -> None:
    """The loop that most write: decode from the start, ``to_ndarray``, keep what is wanted."""
    wanted = set(np.concatenate([shot.indices for shot in shots]).tolist())
    outs = [_empty(shot) for shot in shots]
    with av.open(path, metadata_errors="replace") as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for index, frame in enumerate(container.decode(stream)):
            if index not in wanted:
                continue
            _spread(index, frame.to_ndarray(format="rgb24"), shots, outs)
            wanted.discard(index)
            if not wanted:
                return


class DecodingAlone:
    """Decodes the packets that must be decoded for some frames, and does nothing else: the limit.

    Demuxing and opening are done beforehand. The packets are those from the keyframe before each wanted frame on.

    Args:
        path: of the video.
        wanted: display indices.
    """

    def __init__(self, path: str, wanted: NDArray[np.int64]) -> None:
        self._container = av.open(path, metadata_errors="replace")
        stream = self._container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        self._decoder = stream.codec_context
        packets = [packet for packet in self._container.demux(stream) if packet.size]
        # AVI tells no display times: there, packets are taken in their own order, which is off by the B-frames at most.
        if self._container.format.name != "avi":
            shown = sorted(range(len(packets)), key=lambda number: packets[number].pts or 0)
        else:
            shown = list(range(len(packets)))
        needed = sorted({shown[min(index, len(shown) - 1)] for index in wanted.tolist()})
        self._runs: list[list[tuple[av.Packet[Any], bool]]] = []
        last = -1
        for number in needed:
            first = max(key for key in range(number + 1) if key == 0 or packets[key].is_keyframe)
            if first > last + 1 or last < 0:
                self._runs.append([])
            else:
                first = last + 1
            self._runs[-1] += [(packets[other], other == number) for other in range(first, number + 1)]
            last = number

    def decode(self, *, is_skipping: bool) -> None:
        """Decode all runs; skipping leaves out unwanted pictures that no other refers to."""
        decoder = self._decoder
        for run in self._runs:
            decoder.flush_buffers()
            for packet, is_wanted in run:
                decoder.skip_frame = "NONREF" if is_skipping and not is_wanted else "DEFAULT"
                decoder.decode(packet)
            decoder.decode(None)

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()


def _chunks(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]


def _empty(shot: Shot) -> NDArray[np.uint8]:
    assert shot.size is not None
    return np.empty((len(shot.indices), *shot.size, 3), np.uint8)


def _spread(index: int, picture: NDArray[np.uint8], shots: Sequence[Shot], outs: list[NDArray[np.uint8]]) -> None:
    """Put a picture wherever it is wanted."""
    for shot, out in zip(shots, outs, strict=True):
        for row in np.flatnonzero(shot.indices == index):
            _resize(picture, shot, out[row])


def _resized(batch: NDArray[np.uint8], shot: Shot) -> NDArray[np.uint8]:
    assert shot.size is not None
    out = np.empty((len(batch), *shot.size, 3), np.uint8)
    for picture, target in zip(batch, out, strict=True):
        _resize(picture, shot, target)
    return out


def _resize(picture: NDArray[np.uint8], shot: Shot, target: NDArray[np.uint8]) -> None:
    """Crop and resize with OpenCV where there is one, else with FFmpeg."""
    box = shot.crop or Box(0, 0, *picture.shape[:2])
    part = picture[box.top : box.top + box.height, box.left : box.left + box.width]
    height, width = target.shape[:2]
    if (cv2 := _cv2()) is not None:
        cv2.resize(part, (width, height), dst=target)
        return
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(part), format="rgb24")
    target[...] = frame.reformat(width=width, height=height).to_ndarray()


@cache
def _cv2() -> Any:
    """OpenCV on one thread, or None."""
    if find_spec("cv2") is None:
        return None
    module = import_module("cv2")
    module.setNumThreads(1)
    return module
