"""A file in a store, read piece by piece: few requests, few bytes."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

# Measured on five-minute videos of 340 x 256 (15-19 MB, index in front or behind), one clip of 32x2 with a packet
# index: blocks of 128 KiB take 5-6 requests and 1.1 MB, 512 KiB 3-4 and 1.8 MB, 1 MiB 3 and 3 MB. At 30 ms a request
# and 60 MB/s, which large stores give, that is 175, 130 and 137 ms.
BLOCK_BYTES = 512 << 10
# Reading on in order asks for twice as much each time, up to this: the wait for a request is then a fifth of it.
MAX_REQUEST_BYTES = 8 << 20
KEPT_BYTES = 32 << 20


@dataclass(frozen=True)
class StoredFile:
    """One open file of a store or a web server.

    Attributes:
        num_bytes: of the file.
        content: all of it, None where it is larger than the opener wanted to have at once.
        read_at: ``(num_bytes, offset)`` to the bytes there, one request each.
    """

    num_bytes: int
    content: bytes | None
    read_at: Callable[[int, int], bytes]


class RangedFile(io.RawIOBase):
    """Reads a remote file in blocks, keeps the latest ones, and asks for more at once while it is read in order.

    Reads are full: less than asked for comes at the end of the file only. Not for several threads at a time.

    Args:
        read_at: ``(num_bytes, offset)`` to the bytes there; what it raises, reading raises.
        num_bytes: of the file.
        block_bytes: the smallest request.
        max_request_bytes: the largest.
        kept_bytes: of blocks, in memory.
    """

    def __init__(
        self,
        read_at: Callable[[int, int], bytes],
        num_bytes: int,
        *,
        block_bytes: int = BLOCK_BYTES,
        max_request_bytes: int = MAX_REQUEST_BYTES,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        super().__init__()
        self.num_bytes = num_bytes
        self._read_at = read_at
        self._block_bytes = block_bytes
        self._max_request_blocks = max(max_request_bytes // block_bytes, 1)
        self._max_blocks = max(kept_bytes // block_bytes, self._max_request_blocks)
        self._blocks: OrderedDict[int, memoryview] = OrderedDict()
        self._position = 0
        self._after_last = -1
        self._request_blocks = 1

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.num_bytes}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        last = self.num_bytes if size is None or size < 0 else min(self._position + size, self.num_bytes)
        parts = []
        while self._position < last:
            number, start = divmod(self._position, self._block_bytes)
            parts.append(self._block(number)[start : start + last - self._position])
            self._position += len(parts[-1])
        return b"".join(parts)

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        into = memoryview(buffer).cast("B")
        content = self.read(len(into))
        into[: len(content)] = content
        return len(content)

    def _block(self, number: int) -> memoryview:
        if number in self._blocks:
            self._blocks.move_to_end(number)
        else:
            self._fetch(number)
        return self._blocks[number]

    def _fetch(self, first: int) -> None:
        """Ask for the block that is needed, and the more after it the longer reading has gone on in order."""
        is_next = first == self._after_last
        self._request_blocks = min(2 * self._request_blocks, self._max_request_blocks) if is_next else 1
        stop = first + 1
        num_blocks = -(-self.num_bytes // self._block_bytes)
        while stop < min(first + self._request_blocks, num_blocks) and stop not in self._blocks:
            stop += 1
        offset = first * self._block_bytes
        num_bytes = min(stop * self._block_bytes, self.num_bytes) - offset
        content = self._read_at(num_bytes, offset)
        if len(content) != num_bytes:
            raise OSError(f"{len(content)} of {num_bytes} bytes came from {offset} on; was the file replaced?")
        self._after_last = stop
        for number in range(first, stop):
            start = (number - first) * self._block_bytes
            self._blocks[number] = memoryview(content)[start : start + self._block_bytes]
        while len(self._blocks) > self._max_blocks:
            self._blocks.popitem(last=False)
