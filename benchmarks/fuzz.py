#!/usr/bin/env python3
"""Reads damaged videos and looks for what must never happen.

Small videos of many kinds are generated, damaged in seeded ways, and read in processes of their own. A finding is a
crash, a hang, an error that is not a DecodeError or does not name the file, or frames that cannot be. Every finding is
kept with its seed: ``--seed S --cases 1`` makes it again.
"""

import argparse
import multiprocessing
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from report import ROOT, print_table, write_json
from videos import Clip, write_video

from kinoray.errors import DecodeError
from kinoray.video.decode import VideoReader
from kinoray.video.frames import Box, Shot
from kinoray.video.limits import Limits
from kinoray.video.packets import PacketIndex

SMALL_FOLDER = ROOT / "build" / "fuzz-videos"
FINDINGS_FOLDER = ROOT / "build" / "fuzz-findings"
# A video may take its limit for opening and again for each of the readings; above that it is a hang.
LIMITS = Limits(seconds=5.0, num_pixels=1 << 22)
HANG_SECONDS = 30.0
_GOP = {"g": "8", "b": "400k"}
_X264 = _GOP | {"preset": "ultrafast", "bf": "2", "threads": "1"}
SMALL_CLIPS = tuple(
    Clip(file, 64, 80, 30, codec, pixels, options)
    for file, codec, pixels, options in (
        ("h264.mp4", "libx264", "yuv420p", _X264),
        ("h264_front.mov", "libx264", "yuv420p", _X264),
        ("h264.mkv", "libx264", "yuv444p", _X264),
        ("h264.ts", "libx264", "yuv420p", _X264),
        ("h264.avi", "libx264", "yuv420p", _X264),
        ("h264.flv", "libx264", "yuv420p", _X264),
        ("open_gop.h264", "libx264", "yuv420p", _X264 | {"x264-params": "open-gop=1:keyint=8"}),
        ("hevc.mp4", "libx265", "yuv420p", {"preset": "ultrafast", "x265-params": "keyint=8:log-level=none:pools=1"}),
        ("mpeg4.avi", "mpeg4", "yuv420p", _GOP),
        ("mpeg4_b.avi", "mpeg4", "yuv420p", _GOP | {"bf": "2"}),
        ("mpeg4_b.mp4", "mpeg4", "yuv420p", _GOP | {"bf": "2"}),
        ("mpeg2.mpg", "mpeg2video", "yuv420p", _GOP | {"bf": "2"}),
        ("mjpeg.avi", "mjpeg", "yuvj420p", {}),
        ("vp8.webm", "libvpx", "yuv420p", _GOP | {"deadline": "realtime", "cpu-used": "8"}),
        ("vp9.webm", "libvpx-vp9", "yuv420p", _GOP | {"deadline": "realtime", "cpu-used": "8"}),
        ("wmv2.asf", "wmv2", "yuv420p", _GOP),
        ("ffv1.nut", "ffv1", "yuv420p", {}),
        ("flv1.flv", "flv", "yuv420p", _GOP),
    )
)
# Signatures of headers, where a changed byte matters more than elsewhere.
_MARKS = (
    *(b"moov", b"trak", b"stbl", b"stsd", b"stts", b"ctts", b"stsz", b"stco", b"elst", b"avcC"),
    *(b"hdrl", b"strh", b"strf", b"idx1", b"movi"),
    *(b"\x1a\x45\xdf\xa3", b"\x00\x00\x01", b"G\x40", b"FLV", b"\xff\xd8"),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one damaged video.

    Attributes:
        seed: that made it.
        what: "read", "filled", "error REASON", or a finding: "crash", "hang", "wrong error", "unnamed", "impossible".
        detail: of a finding.
        seconds: of wall time.
        peak_mib: resident memory of the reading process at its largest so far.
    """

    seed: int
    what: str
    detail: str = ""
    seconds: float = 0.0
    peak_mib: float = 0.0

    @property
    def is_finding(self) -> bool:
        """Whether this must never happen."""
        return not self.what.startswith(("read", "filled", "error"))


def main() -> None:
    """Read as many damaged videos as the arguments ask for, and exit with 1 where something was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the others follow")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    make_small_videos()
    started = time.perf_counter()
    seeds = range(arguments.seed, arguments.seed + arguments.cases)
    outcomes = []
    for outcome in read_apart(seeds, arguments.processes):
        outcomes.append(outcome)
        if outcome.is_finding:
            print(f"{outcome.what}: {_keep(outcome)}\n{outcome.detail}")
        if len(outcomes) % 500 == 0:
            print(f"{len(outcomes)} read in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    rows = [{"what": what, "videos": count} for what, count in Counter(it.what for it in outcomes).most_common()]
    print_table(rows)
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    total = {
        "videos": len(outcomes),
        "findings": sum(outcome.is_finding for outcome in outcomes),
        "median ms": 1000 * statistics.median(outcome.seconds for outcome in outcomes),
        "slowest s": slowest.seconds,
        "slowest seed": slowest.seed,
        "peak RSS MiB": max(outcome.peak_mib for outcome in outcomes),
    }
    print_table([total])
    write_json("fuzz", [*rows, total])
    sys.exit(1 if total["findings"] else 0)


def make_small_videos() -> None:
    """Generate the undamaged videos where they are missing."""
    SMALL_FOLDER.mkdir(parents=True, exist_ok=True)
    for clip in SMALL_CLIPS:
        path = SMALL_FOLDER / clip.file
        if not path.exists():
            unfinished = path.with_name(f"unfinished-{path.name}")
            write_video(unfinished, clip)
            unfinished.rename(path)


def damaged(seed: int) -> tuple[str, bytes]:
    """Name of a small video, and its content with one to three kinds of damage."""
    rng = np.random.default_rng(seed)
    clip = SMALL_CLIPS[rng.integers(len(SMALL_CLIPS))]
    content = _content(clip.file)
    for _ in range(rng.integers(1, 4)):
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        content = damage(content, rng)
    return clip.file, content


@cache
def _content(file: str) -> bytes:
    return (SMALL_FOLDER / file).read_bytes()


def flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip up to 64 bits anywhere."""
    changed = bytearray(content)
    for at in rng.integers(len(changed), size=rng.integers(1, 65)) if changed else ():
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def edit_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Set some bytes after a header's signature to values that are hard on parsers."""
    found = [at for mark in _MARKS if (at := content.find(mark)) >= 0]
    if not found:
        return content
    changed = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        at = found[rng.integers(len(found))] + int(rng.integers(-8, 64))
        value = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", rng.bytes(4)][
            rng.integers(7)
        ]
        if 0 <= at < len(changed) - len(value):
            changed[at : at + len(value)] = value
    return bytes(changed)


def cut_end(content: bytes, rng: np.random.Generator) -> bytes:
    """Keep the beginning only."""
    return content[: int(rng.integers(len(content) + 1))]


def drop_chunk(content: bytes, rng: np.random.Generator) -> bytes:
    """Leave out a chunk; what follows moves up."""
    start, stop = _span(content, rng)
    return content[:start] + content[stop:]


def repeat_chunk(content: bytes, rng: np.random.Generator) -> bytes:
    """Write a chunk twice, the second time somewhere else."""
    start, stop = _span(content, rng)
    at = int(rng.integers(len(content) + 1))
    return content[:at] + content[start:stop] + content[at:]


def blank_chunk(content: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite a chunk with zeros, as an unfinished download."""
    start, stop = _span(content, rng)
    return content[:start] + bytes(stop - start) + content[stop:]


def splice(content: bytes, rng: np.random.Generator) -> bytes:
    """Go on with another video in the middle."""
    other = _content(SMALL_CLIPS[rng.integers(len(SMALL_CLIPS))].file)
    return content[: int(rng.integers(len(content) + 1))] + other[int(rng.integers(len(other))) :]


DAMAGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    flip_bits,
    flip_bits,
    edit_header,
    edit_header,
    cut_end,
    drop_chunk,
    repeat_chunk,
    blank_chunk,
    splice,
)


def _span(content: bytes, rng: np.random.Generator) -> tuple[int, int]:
    start = int(rng.integers(len(content) + 1))
    return start, min(start + int(2 ** rng.uniform(0, 12)), len(content))


def read_one(seed: int, folder: Path) -> Outcome:
    """Make the damaged video of a seed and read it as training and evaluation do."""
    file, content = damaged(seed)
    rng = np.random.default_rng([seed, 1])
    path = folder / f"{seed}-{file}"
    source: Any = (content, BytesIO(content), str(path))[rng.integers(3)]
    if isinstance(source, str):
        path.write_bytes(content)
    started = time.perf_counter()
    try:
        what, detail = _read(source, str(path), rng, _content(file))
    except DecodeError as error:
        is_named = str(path) in str(error) or error.reason == "index"
        what, detail = (f"error {error.reason}", "") if is_named else ("unnamed", str(error))
    except Exception:  # noqa: BLE001  whatever else is raised is what we look for
        what, detail = "wrong error", traceback.format_exc()
    finally:
        path.unlink(missing_ok=True)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Outcome(seed, what, detail, time.perf_counter() - started, peak_kib / 1024)


def _read(source: Any, name: str, rng: np.random.Generator, undamaged: bytes) -> tuple[str, str]:
    index = None
    if rng.integers(5) == 0:  # an index of the file as it was, itself damaged half the time
        with VideoReader(undamaged, name=name) as video:
            kept = video.packet_index().to_bytes()
        index = PacketIndex.from_bytes(flip_bits(kept, rng) if rng.integers(2) else kept)
    with VideoReader(source, name=name, max_missing=1.0, limits=LIMITS, index=index) as video:
        count = video.num_frames
        if not (0 < count < 10_000 and np.isfinite(video.pts_seconds).all() and len(video.pts_seconds) == count):
            return "impossible", f"{count} frames at {video.pts_seconds}"
        if (np.diff(video.pts_seconds) <= 0).any() or not 0 < video.fps < np.inf or len(video.keyframes) > count:
            return "impossible", f"{video.fps} fps, keyframes {video.keyframes}, times {video.pts_seconds}"
        some = rng.integers(count, size=8)
        box = Box(video.height // 3, video.width // 3, (video.height + 1) // 2, (video.width + 1) // 2)
        shots = [Shot(some, box, (32, 32), bool(rng.integers(2))), Shot(np.arange(count), None, (16, 24))]
        filled = 0
        for frames in video.read_shots(shots):
            filled += video.num_filled
            if frames.data.shape[1:] not in {(32, 32, 3), (16, 24, 3)}:
                return "impossible", f"pictures of shape {frames.data.shape}"
        video.read_planes([Shot(some[:2], box)])
        again: NDArray[np.int64] = video.frames_at(video.pts_seconds)
        if len(again) != count:
            return "impossible", f"{len(again)} frames at the times of {count}"
        video.read(some[:1])
    return ("filled" if filled else "read"), ""


@dataclass
class _Reader:
    """A process that reads one damaged video at a time.

    Attributes:
        folder: for its files.
        read: what it calls.
        hang_seconds: after which it is killed.
    """

    folder: Path
    read: Callable[[int, Path], Outcome]
    hang_seconds: float
    process: Any = field(init=False)
    pipe: "Connection[int, Outcome | None]" = field(init=False)
    seed: int | None = None
    until: float = 0.0

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, self.folder, self.read), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()  # it has imported all it needs: what follows is reading

    def take(self, seed: int) -> None:
        self.seed, self.until = seed, time.monotonic() + self.hang_seconds
        self.pipe.send(seed)

    def outcome(self) -> Outcome | None:
        """What became of the seed at hand; None while it is read. A process that crashed or hangs is replaced."""
        assert self.seed is not None
        try:
            if self.pipe.poll():
                return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return self._replaced("crash", f"exit code {self.process.exitcode}")
        if time.monotonic() > self.until:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.join()
            return self._replaced("hang", f"not done after {self.hang_seconds:g} s")
        return None

    def _replaced(self, what: str, detail: str) -> Outcome:
        assert self.seed is not None
        self.start()
        return Outcome(self.seed, what, detail, self.hang_seconds if what == "hang" else 0.0)


def _serve(pipe: "Connection[Outcome | None, int]", folder: Path, read: Callable[[int, Path], Outcome]) -> None:
    av.logging.set_level(None)
    pipe.send(None)
    while True:
        try:
            seed = pipe.recv()
        except EOFError:
            return
        pipe.send(read(seed, folder))


def read_apart(
    seeds: range,
    num_processes: int,
    read: Callable[[int, Path], Outcome] = read_one,
    hang_seconds: float = HANG_SECONDS,
) -> Iterator[Outcome]:
    """Outcomes of all seeds as they come, each read in a process that may crash or hang."""
    waiting = iter(seeds)
    with tempfile.TemporaryDirectory(prefix="kinoray-fuzz-") as folder:
        readers = [_Reader(Path(folder), read, hang_seconds) for _ in range(num_processes)]
        busy: list[_Reader] = []
        try:
            while True:
                for reader in readers:
                    if reader not in busy and (seed := next(waiting, None)) is not None:
                        reader.take(seed)
                        busy.append(reader)
                if not busy:
                    return
                wait([reader.pipe for reader in busy], timeout=1.0)
                for reader in list(busy):
                    outcome = reader.outcome()
                    if outcome is not None:
                        busy.remove(reader)
                        yield outcome
        finally:
            for reader in readers:
                reader.pipe.close()
                reader.process.join(5)
                reader.process.kill()


def _keep(outcome: Outcome) -> Path:
    """Save the damaged video of a finding."""
    file, content = damaged(outcome.seed)
    FINDINGS_FOLDER.mkdir(parents=True, exist_ok=True)
    path = FINDINGS_FOLDER / f"seed{outcome.seed}-{outcome.what.replace(' ', '_')}-{file}"
    path.write_bytes(content)
    path.with_suffix(".txt").write_text(outcome.detail)
    return path


if __name__ == "__main__":
    main()
