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
    rb"|leakedbytes|leakedblocks|error)>|\0"
    rb"|==\d{1,10}== (?:(?:HEAP|LEAK|ERROR) SUMMARY:|[^\n]{1,99} blocks are |  (?:at|by) 0x)"
)
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
    if _INNER.search(text, at, opening.start()):
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
    if _INNER.search(text, at):
        yield STRAY
