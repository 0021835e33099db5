"""What CPython itself loses when tracemalloc is started and stopped: no leak of anybody here.

CPython 3.11 and 3.12 do not free the stacks that tracemalloc has noted when it is stopped. They are
known by their shape: ``traceback_t`` of ``Modules/_tracemalloc.c``, since 3.12 of
``Python/tracemalloc.c``.
"""

from __future__ import annotations

import ctypes
import sys

from pytest_leakguard.tracker.tracker import Block, Domain, Tracker

LOSES = sys.version_info < (3, 13)
"""Later versions free them."""
_HEAD_BYTES = 12
"""The hash and two numbers of frames, packed."""
_FRAME_BYTES = 12
"""The file's name and the line, packed."""
_AT_COUNT = 8
"""Where the number of frames is, in bytes; after it the number there were in all."""


def has_only_lost_stacks(tracker: Tracker, run: int) -> bool:
    """Whether all native memory that a run has left is such stacks, and there are some."""
    if not LOSES or "tracemalloc" not in sys.modules:
        return False
    blocks = [block for block in tracker.survivors(run) if block.domain is Domain.NATIVE]
    return bool(blocks) and all(map(is_lost_stack, blocks))


def loss_in_words(size_bytes: float) -> str:
    """What a run has lost of them."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return (
        f"{size_bytes:,.0f} bytes per run are lost by CPython {version} itself, with each start "
        "and stop of tracemalloc"
    )


def is_lost_stack(block: Block) -> bool:
    """Whether a block is as large as the number of frames in it says, and not freed by CPython."""
    if (
        not LOSES
        or block.domain is not Domain.NATIVE
        or block.size_bytes < _HEAD_BYTES + _FRAME_BYTES
    ):
        return False
    kept = ctypes.c_uint16.from_address(block.address + _AT_COUNT).value
    in_all = ctypes.c_uint16.from_address(block.address + _AT_COUNT + 2).value
    return block.size_bytes == _HEAD_BYTES + kept * _FRAME_BYTES and in_all >= kept
