"""zstandard 0.25.0: two leaks of its C extension, both in stream writers.

1. ``ZstdDecompressionWriter.write`` allocates an output buffer and does not free it when the
   stream that it writes to raises: 131,072 bytes per exception (decompressionwriter.c, line 76).
2. ``ZstdCompressionWriter.close`` calls ``flush`` and never gives back the number that it
   returns; numbers above 256 are objects: 28 to 32 bytes per stream (compressionwriter.c).

    pip install zstandard==0.25.0 && python zstandard_writers.py
"""

import contextlib
import gc
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import zstandard

FRAME = zstandard.ZstdCompressor().compress(b"foo" * 1024)
NOISE = os.urandom(5000)  # does not shrink, so that more than 256 bytes are flushed


class Full(io.BytesIO):
    def write(self, data: object) -> int:
        raise OSError("no space left")


def decompress_into_a_full_disk() -> None:
    writer = zstandard.ZstdDecompressor().stream_writer(Full())
    with contextlib.suppress(OSError):
        writer.write(FRAME)


def compress() -> None:
    with zstandard.ZstdCompressor().stream_writer(io.BytesIO()) as writer:
        writer.write(NOISE)


def compress_and_flush_before() -> None:
    """The same, but nothing is left for ``close`` to flush."""
    with zstandard.ZstdCompressor().stream_writer(io.BytesIO()) as writer:
        writer.write(NOISE)
        writer.flush(zstandard.FLUSH_FRAME)


def data_bytes() -> int:
    """Memory that is mapped for data; of each buffer only the first page is ever touched."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def per_call(work: Callable[[], None], read: Callable[[], int], calls: int = 2000) -> float:
    for _ in range(100):
        work()
    gc.collect()
    before = read()
    for _ in range(calls):
        work()
    gc.collect()
    return (read() - before) / calls


kept = per_call(decompress_into_a_full_disk, data_bytes)
print(f"1. memory per exception: {kept:,.0f} bytes")
for work in (compress, compress_and_flush_before):
    print(f"2. blocks per call of {work.__name__}: {per_call(work, sys.getallocatedblocks):.2f}")
