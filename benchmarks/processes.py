"""What a job and all processes that it starts take: memory and CPU time."""

import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import psutil


class Sampler:
    """Follows a process and its descendants until it ends.

    Memory is PSS: pages that processes share are counted once.

    Attributes:
        largest: bytes by the name of the process, at the moment when their sum was the largest.
    """

    def __init__(self, job: subprocess.Popen[str], *, every_seconds: float) -> None:
        self.largest: Counter[str] = Counter()
        self._job, self._every_seconds = job, every_seconds
        self._cpu_seconds: dict[tuple[int, float], float] = {}
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    @property
    def cpu_seconds(self) -> float:
        """Of all, ended ones included, as of the last sample that saw each."""
        return sum(self._cpu_seconds.values())

    @property
    def peak_bytes(self) -> int:
        """The largest sum."""
        return sum(self.largest.values())

    def join(self) -> None:
        """Wait for the end of the process."""
        self._thread.join()

    def _follow(self) -> None:
        while self._job.poll() is None:
            now: Counter[str] = Counter()
            try:
                root = psutil.Process(self._job.pid)
                for process in [root, *root.children(recursive=True)]:
                    times = process.cpu_times()
                    self._cpu_seconds[process.pid, process.create_time()] = times.user + times.system
                    now[_name(process)] += process.memory_full_info().pss
            except psutil.Error:
                continue
            if sum(now.values()) > self.peak_bytes:
                self.largest = now
            time.sleep(self._every_seconds)


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    first = words[0] if words else process.name()
    return first if first.startswith("ray::") else " ".join(Path(word).name for word in words[:2])
