"""The sound of a video or of an audio file, at any rate, as one channel."""

from collections.abc import Iterator
from io import BytesIO
from itertools import chain

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from numpy.typing import NDArray

from kinoray.errors import DecodeError
from kinoray.video.container import ENCODING
from kinoray.video.files import open_video_file
from kinoray.video.shards import is_shard_path, read_shard_video

MAX_SECONDS = 3600
"""Longer sound is refused: it would fill the memory."""
# Only formats that hold their own sound: a playlist could make us open other files and addresses.
_FORMATS = (
    "3g2,3gp,aac,ac3,aiff,amr,asf,au,avi,caf,eac3,flac,flv,m4a,matroska,mj2,mov,mp3,mp4,mpeg,mpegts,mxf,nut,oga,ogg,"
    "rm,w64,wav,webm,wv"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}


def read_sound(path: str, name: str, rate: int) -> NDArray[np.float32]:
    """``(S,)`` samples, about from -1 to 1: all channels mixed into one, as FFmpeg mixes them.

    Args:
        path: of the file, local or behind a URI, or in a shard.
        name: what messages call it.
        rate: samples per second of the result.

    Raises:
        DecodeError: it cannot be read, holds no sound, or far too much.
    """
    source = BytesIO(read_shard_video(path)) if is_shard_path(path) else open_video_file(path)
    try:
        # Otherwise a name such as "a:b.wav" would be taken for one of FFmpeg's protocols.
        file = f"file:{source}" if isinstance(source, str) else source
        with av.open(file, "r", options=_OPTIONS, **ENCODING) as container:
            pieces = list(_pieces(container, name, rate))
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError(f"{name}: its sound cannot be decoded ({' '.join(str(error).split())})") from error
    if not pieces:
        raise DecodeError(f"{name}: holds no sound", "empty")
    return np.concatenate(pieces)


def _pieces(container: InputContainer, name: str, rate: int) -> Iterator[NDArray[np.float32]]:
    if not container.streams.audio:
        raise DecodeError(f"{name}: holds no sound", "empty")
    resampler = AudioResampler(format="flt", layout="mono", rate=rate)
    num_samples = 0
    for frame in chain(container.decode(container.streams.audio[0]), [None]):
        for resampled in resampler.resample(frame):
            piece = resampled.to_ndarray().reshape(-1).astype(np.float32, copy=False)
            num_samples += len(piece)
            if num_samples > MAX_SECONDS * rate:
                raise DecodeError(f"{name}: its sound lasts more than {MAX_SECONDS} seconds; cut it into segments")
            yield piece
