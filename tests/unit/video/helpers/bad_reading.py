"""A reading that goes as wrong as can be, where a process that pytest did not start can import it."""

import ctypes
import time
from pathlib import Path

import fuzz


def crash_or_hang(seed: int, folder: Path) -> fuzz.Outcome:
    """Seed 1 crashes its process, seed 2 never ends."""
    if seed == 1:
        ctypes.string_at(0)
    if seed == 2:
        time.sleep(600)
    return fuzz.Outcome(seed, "read")
