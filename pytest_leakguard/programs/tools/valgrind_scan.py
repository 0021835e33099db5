"""Finds valgrind's elements in a file of any size and condition, in bounded memory and linear time.

No XML parser could: thread names and user comments are written unescaped, arguments are copied as
raw bytes, and forked children write into their parent's document. Knows the names of elements, not
their meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

CHUNK_BYTES = 1 << 20
"""Bytes read at once."""
LONGEST_ELEMENT_BYTES = 16 << 20
"""An element longer than this is not valgrind's: the deepest stack (500 frames) is far under it."""
_LONGEST_TAG_BYTES = 20
"""Bytes of the longest tag, ``</valgrindoutput>``, and some: a chunk may end inside it."""

_OPENING = re.compile(
    rb"<(error|status|fatal_signal|clientmsg|usercomment|preamble|args|leak_summary|errorcounts"
    rb"|suppcounts|error_summary|pid|ppid|tool)>"
    rb"|<\?xml|</valgrindoutput>|</error>"  # an </error> met here is one whose beginning was lost
)
STRAY = b"<stray>"
"""Stands for a part of an error that is inside no error: what stood around it is lost."""
_INNER = re.compile(
    rb"</?(?:frame|ip|obj|fn|dir|file|line|stack|kind|what|xwhat|auxwhat|xauxwhat|text|unique|tid"
    rb"|leakedbytes|leakedblocks|error|vargv|argv|exe|arg|state|time|pair|count|name)>"
    rb"|</(?:preamble|pid|ppid|tool|args|status|fatal_signal|leak_summary|errorcounts|suppcounts"
    rb"|error_summary)>|\0"
    rb"|==\d{1,10}== (?:(?:HEAP|LEAK|ERROR) SUMMARY:|[^\n]{1,99} blocks are |  (?:at|by) 0x)"
)
_HARMLESS = re.compile(
    rb"</?(?:valgrindoutput|announcethread|logfilequalifier|suppression|heap_summary"
    rb"|heap_usage_at_exit|total_heap_usage)>"
)
"""Lines of tags between the elements of interest."""
_NAMES = tuple(
    b"error unique tid kind what xwhat auxwhat xauxwhat text leakedbytes leakedblocks stack frame"
    b" ip obj fn dir file line status state time preamble pid ppid tool args vargv argv exe arg"
    b" leak_summary errorcounts suppcounts error_summary pair count name bytes blocks"
    b" valgrindoutput protocolversion protocoltool usercomment fatal_signal signo signame sicode"
    b" event siaddr heap_summary heap_usage_at_exit total_heap_usage allocs frees bytes_allocated"
    b" all_heap_blocks_freed definitely_lost indirectly_lost possibly_lost still_reachable"
    b" suppressed errors error_contexts suppressed_contexts".split()
)
_TAGS = [b"<" + slash + name + b">" for name in _NAMES for slash in (b"", b"/")]
_LONGEST_JOINED_BYTES = 2 * max(map(len, _TAGS))
_BEGINNINGS = frozenset(tag[:length] for tag in _TAGS for length in range(len(tag)))
_ENDINGS = frozenset(tag[length:] for tag in _TAGS for length in range(1, len(tag) + 1))
"""What a hole may leave of a tag, on either side of it."""
_STACK = re.compile(rb"\s*<stack>(?:\s*<frame>[^<]*(?:<(?!/frame)[^<]*)*</frame>)*\s*</stack>")


class TooLong(Exception):
    """An element does not end where any element of valgrind's would have."""


def elements(stream: BinaryIO) -> Iterator[bytes]:
    """The elements of interest in file order, from ``<name>`` to ``</name>``.

    One that was cut lacks its end. After an opening tag only its closing tag is looked for, so what
    a user comment quotes is not taken for valgrind's. Between them whole stacks are elements as
    well, and ``STRAY`` stands for other remains.
    Raises ``TooLong``.
    """
    pending, at, searched = b"", 0, 0
    while chunk := stream.read(CHUNK_BYTES):
        pending, searched, at = pending[at:] + chunk, searched - at, 0
        while opening := _OPENING.search(pending, at):
            if not searched:
                yield from _remains(pending, at, opening)
            end = _end(pending, opening, searched)
            searched = 0
            if end < 0:
                at = opening.start()
                searched = max(opening.end(), len(pending) - _LONGEST_TAG_BYTES)
                break
            yield pending[opening.start() : end]
            at = end
        else:
            end = max(at, len(pending) - _LONGEST_TAG_BYTES)
            if _INNER.search(pending, at, end):
                yield STRAY
            at, searched = end, 0
        if len(pending) - at > LONGEST_ELEMENT_BYTES:
            raise TooLong
    yield from _rest(pending[at:])


def _remains(text: bytes, at: int, opening: re.Match[bytes]) -> Iterator[bytes]:
    """What stands between ``at`` and this opening tag: stacks alone, or what is left of an error.

    Before a fatal signal valgrind writes the stack of an instruction that it does not know; that
    one is left out.
    """
    stacks: list[bytes] = []
    while stack := _STACK.match(text, at, opening.start()):
        stacks.append(stack.group().strip())
        at = stack.end()
    if _INNER.search(text, at, opening.start()) or _is_torn(text[at : opening.start()]):
        yield STRAY
    elif opening.group(1) != b"fatal_signal" or len(stacks) > 1:
        yield from stacks


def _end(text: bytes, opening: re.Match[bytes], searched: int) -> int:
    """Where the element ends; -1 when that is not in ``text``."""
    name = opening.group(1)
    if name is None:
        return opening.end()
    found = text.find(b"</%b>" % name, max(opening.end(), searched))
    return found if found < 0 else found + len(name) + 3


def _rest(text: bytes) -> Iterator[bytes]:
    """What still stands behind an opening tag that nothing closes."""
    # Not looked for again: the time would grow with the square of the damage.
    unclosed: set[bytes] = set()
    at = 0
    while opening := _OPENING.search(text, at):
        yield from _remains(text, at, opening)
        name = opening.group(1)
        end = -1 if name in unclosed else _end(text, opening, 0)
        if end >= 0:
            yield text[opening.start() : end]
            at = end
            continue
        unclosed.add(name)
        at = opening.end()
        if name == b"error":  # cut in the middle; may still hold a whole stack
            following = _OPENING.search(text, at)
            at = following.start() if following else len(text)
        yield text[opening.start() : at]
    if _INNER.search(text, at) or _is_torn(text[at:]):
        yield STRAY


def _is_torn(between: bytes) -> bool:
    """Whether a line between two elements is what a hole has left of one tag or of two.

    What a program prints into valgrind's stream is let through unless it looks the same.
    """
    if b"<" not in between and b">" not in between:
        return False
    for line in between.split(b"\n"):
        text = line.strip()
        if not text or len(text) > _LONGEST_JOINED_BYTES or _HARMLESS.fullmatch(text):
            continue
        for length in range(len(text) + 1):
            if text[:length] in _BEGINNINGS and text[length:] in _ENDINGS:
                return True
    return False
