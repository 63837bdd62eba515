"""A Ray cluster of several nodes on this machine, whose nodes come and go when it is told so."""

import subprocess
import sys
from pathlib import Path


class Nodes:
    """The cluster, in a process of its own; one node to begin with."""

    def __init__(self, *, head_cpus: int = 2) -> None:
        command = [sys.executable, str(Path(__file__).parent / "growing_cluster.py"), str(head_cpus)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.address = self._answer()

    def tell(self, words: str) -> int:
        """Have a node come or go; gives how many there are."""
        assert self._process.stdin is not None
        print(words, file=self._process.stdin, flush=True)
        return int(self._answer())

    def end(self) -> None:
        self._process.communicate("end\n", timeout=60)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return next(line.strip() for line in self._process.stdout if ":" in line or line.strip().isdigit())
