"""How much one video may cost: no file, however it was made, holds up a worker or fills its memory."""

from dataclasses import dataclass
from time import monotonic

from kinoray.errors import DecodeError


@dataclass(frozen=True)
class Limits:
    """What one video may cost.

    Attributes:
        seconds: of wall time, for one opening and for one reading; above it the video is an error.
        num_bytes_kept: packets are kept while they take no more memory than this; of a larger video they are read again
            when wanted.
        num_pixels: of one picture; a header can claim any size and make the decoder allocate it. Sixteen times 4K.
    """

    seconds: float = 60.0
    num_bytes_kept: int = 256 << 20
    num_pixels: int = 16 * 3840 * 2160


class Deadline:
    """The moment at which work on a video must be done."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self.restart()

    def restart(self) -> None:
        """Allow the whole time from now on."""
        self._end = monotonic() + self._seconds

    @property
    def seconds_left(self) -> float:
        """Below 0 where the time is over."""
        return self._end - monotonic()

    def check(self) -> None:
        """Raise a DecodeError, reason ``slow``, where the time is over."""
        if monotonic() > self._end:
            raise self.error()

    def error(self) -> DecodeError:
        """The error of a video that takes too long."""
        return DecodeError(f"{self._name}: not read within {self._seconds:g} seconds; it may be damaged", "slow")
