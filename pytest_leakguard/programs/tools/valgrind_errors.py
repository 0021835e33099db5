"""What memcheck reports besides leaks: memory errors, descriptors, uninitialised values."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_leakguard.core.fingerprint import innermost_own
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.text import one_line, place, shortened

MOST_ERRORS = 20
"""Errors of one process that are kept; after so many its heap is chaos."""
UNINITIALISED = (
    "values that were never set were used: not judged, since it is no leak and no invalid access"
)
_LONGEST_WHAT = 160
"""Characters of valgrind's own words, which may hold the program's file names."""
_INVALID = re.compile(
    r"Invalid (read|write) of size [\d,]+|Invalid free\(\)|Mismatched free\(\)"
    r"|Jump to the invalid address|Mismatched new/delete|Illegal memory pool"
    r"|Source and destination overlap in |Argument '.{1,60}' of function .{1,60} has a fishy"
    r"|Syscall param .{1,80} points to (unaddressable|uninitialised/unaddressable)"
    r"|Unaddressable byte\(s\) found|Invalid (alignment|size) value"
    r"|Mismatched \S+ (size|alignment) value"
    r"|File descriptor .{1,200} (is already closed|was never opened|is closed)"
    r"|File descriptor .{1,200} used after|Use of closed file descriptor"
)
"""The first words of memcheck's errors, as mc_errors.c and m_errormgr.c write them."""
_UNSET = re.compile(
    r"Conditional jump or move depends on uninit|Use of uninitialised value"
    r"|Syscall param .{1,80} (contains|points to) uninitialised|Uninitialised byte\(s\) found"
)
OPEN_DESCRIPTOR = re.compile(
    r"(?:Open file descriptor \d+:|Open AF_\w+ socket \d+:|Open socket \d+:"
    r"|File descriptor \d+: .* is still open)"
)
_DESCRIPTOR_KINDS = frozenset({"FdNotClosed"})


def is_invalid(what: str) -> bool:
    """Whether these words of valgrind's begin the report of a memory error."""
    return _INVALID.match(what) is not None


def is_unset(what: str) -> bool:
    """Whether they tell of a value that was never set."""
    return _UNSET.match(what) is not None


def is_open_descriptor(kind: str) -> bool:
    """Whether a kind of the XML tells of a descriptor that was left open."""
    return kind in _DESCRIPTOR_KINDS


def described(what: str, stack: tuple[Frame, ...]) -> str:
    """``Invalid read of size 8 at scan (scanner.c:167)``."""
    frame = innermost_own(stack)
    text = shortened(one_line(what), _LONGEST_WHAT)
    return f"{text} at {place(frame, Path.cwd())}" if frame else text
