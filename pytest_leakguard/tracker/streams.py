"""How much is in a stream in memory, exactly, wherever it is read and written. Runs nobody's code.

No method tells without moving it or taking a view of it, so the field is read where it stands.
"""

from __future__ import annotations

import ctypes
import io
from typing import Any

_FIELDS = object.__basicsize__
"""Where the fields of an object begin: its buffer, its position, the length of what is in it."""
_WORD_BYTES = ctypes.sizeof(ctypes.c_void_p)
_LENGTH_AT = _FIELDS + 2 * _WORD_BYTES
_STATE_AT = _FIELDS + 4 * _WORD_BYTES
"""Of a ``StringIO``, which first collects what is written, and later has it in a buffer."""
_IN_A_BUFFER = 1
_CHARACTER_BYTES = 4
"""Of a ``StringIO`` that has a buffer; while it only collects, an ASCII character takes one."""


def length_of_stream(stream: Any) -> int:
    """The bytes in a ``BytesIO``, the characters in a ``StringIO``."""
    if not _IS_KNOWN:
        return _position(stream)
    return ctypes.c_ssize_t.from_address(id(stream) + _LENGTH_AT).value


def bytes_of_character(stream: Any) -> int:
    """What one more character takes in a ``StringIO``."""
    if not _IS_KNOWN:
        return 1
    state = ctypes.c_int.from_address(id(stream) + _STATE_AT).value
    return _CHARACTER_BYTES if state == _IN_A_BUFFER else 1


def bytes_of_stream(stream: Any) -> int:
    """What is in a ``BytesIO`` or ``StringIO``, in bytes."""
    each = bytes_of_character(stream) if type(stream) is io.StringIO else 1
    return each * length_of_stream(stream)


def _position(stream: Any) -> int:
    tell: Any = io.BytesIO.tell if type(stream) is io.BytesIO else io.StringIO.tell
    try:
        return int(tell(stream))
    except ValueError:  # it is closed
        return 0


def layout_problem() -> str:
    """What is not where it is looked for in a stream; empty when all is."""
    for stream in (io.BytesIO(b"seventeen letters"), io.StringIO("seventeen letters")):
        stream.seek(3)
        if ctypes.c_ssize_t.from_address(id(stream) + _LENGTH_AT).value != len("seventeen letters"):
            return f"the length of a {type(stream).__name__} is elsewhere"
    return ""


_IS_KNOWN = layout_problem() == ""
