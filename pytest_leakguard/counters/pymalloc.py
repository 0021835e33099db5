"""How much address space the interpreter's own allocator has taken for its arenas, which it asks of nobody but itself.

An arena is kept as long as anything in it is in use, so a program that only works with much at a time keeps some, and
address space grows although nothing is lost. The interpreter tells their number in the text of
``sys._debugmallocstats``, which writes to any C stream.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable

_LINE = re.compile(rb"\d+ arenas \* \d+ bytes/arena\s*=\s*([\d,]+)")


def reader() -> Callable[[], int]:
    """What reads the bytes of all arenas, in some 200 microseconds; always 0 where the interpreter does not tell."""
    try:
        tell = ctypes.pythonapi._PyObject_DebugMallocStats
        c = ctypes.CDLL(None)
        open_stream, close, free = c.open_memstream, c.fclose, c.free
    except (AttributeError, OSError, TypeError):
        return int
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    open_stream.restype, open_stream.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p)
    tell.argtypes = close.argtypes = free.argtypes = (ctypes.c_void_p,)

    def read() -> int:
        stream = open_stream(ctypes.byref(text), ctypes.byref(size))
        if not stream:
            return 0
        tell(stream)
        close(stream)
        found = _LINE.search(text.value or b"")
        free(text)
        return int(found[1].replace(b",", b"")) if found else 0

    return read
