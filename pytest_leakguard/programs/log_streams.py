"""The reports in a log as build systems keep it: without what stands before and around each line.

Time stamps, names of containers and tests, colours and encodings are taken off. Where a prefix
names who wrote the line, the lines of each writer become a stream of their own, since in containers
every first process has the same id. Documents of XML inside a log become files of their own.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pytest_leakguard.programs import ctest_log, log_lines

LONGEST_LINE_BYTES = 1 << 16
"""Bytes of one line that are kept, as many as the tools' readers look at."""
MOST_WRITERS = 200
"""Streams one log is divided into; what more writers have written stays together."""
MOST_DOCUMENTS = 2000
"""Documents of XML taken out of one log."""
_HEAD_BYTES = 1 << 12
"""Bytes at the beginning by which the encoding is told: one page."""
_MOST_PREFIXES = 4
"""Prefixes before one line: a runner's time, a container's name, its own time, a test's number."""
_ENCODINGS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_ESCAPES = re.compile(
    rb"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,500}(?:\x07|\x1b\\)"
    rb"|\x1b_[^\x07\x1b]{0,200}(?:\x07|\x1b\\)|\x1b[()][0-9A-B]|\x1b[=>]"
)
_DATE = rb"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z| ?[+-]\d\d:?\d\d)?"
_CLOCK = rb"\d\d?:\d\d:\d\d(?:[.,]\d{1,9})?"
_TIME = re.compile(
    rb"[\[(]?(?:" + _DATE + rb"|" + _CLOCK + rb"|\d{9,13}\.\d{1,9}"
    rb"|[A-Z][a-z]{2} [ \d]\d " + _CLOCK + rb")(?:[\])]|(?: (?:AM|PM)))?:?"
    rb"(?: (?:stdout|stderr) [FP]| \d\d[OE]\+?)?(?: ?\|)?(?:[ \t]|$)"
    rb"|\[ *\d{1,9}(?:\.\d{1,9})?s?\](?: |$)"
    rb"|#\d{1,4} \d{1,7}\.\d{1,4}(?: |$)"
)
"""A time, as build systems, containers (CRI, BuildKit), GitLab, Open Build Service and the kernel
write it before a line."""
_WRITER = re.compile(
    rb"([\w.@/:-]{1,100}?) *\|(?: |$)"  # docker compose, foreman
    rb"|\[([^\]\n]{1,200})\](?: |$)"  # kubectl logs --prefix, parallel branches of Jenkins
    rb"|(\d{1,6}):(?: |$)"  # ctest -V
    # syslog, behind the time; two words with a colon at the end of a line are the program's own
    rb"|([\w.-]{1,64} [\w./@-]{1,64}(?:\[\d{1,10}\])?):(?: |(?<=\]:)$)"
)
_SYSLOG_GROUP = 4
"""Number of the group above that matches a program's name as syslog writes it."""
_JOB = re.compile(rb"([^\t\n]{1,200}\t[^\t\n]{1,200})\t(?:\xef\xbb\xbf)?(?=\d{4}-\d\d-\d\dT)")
"""Job and step, as `gh run view --log` writes them before the time."""
_LEVEL = re.compile(
    rb"(?!ERROR: Can't open file)(?:- [\w.-]{1,100} - )?"
    rb"\[?(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)\]?(?: -|:| \|)?(?: |$)"
)
"""Logger and level, as a logging library writes them behind the time."""
_INDENT = re.compile(rb"^[ \t]+(?===\d{1,10}==|Thread T-?\d{1,10}[ /])")
"""Before a line that the tools begin at its margin."""
_DOCUMENT = re.compile(rb"<\?xml |<valgrindoutput>")
_DOCUMENT_END = b"</valgrindoutput>"


@dataclass(frozen=True, slots=True)
class Stream:
    """What one writer has written, in a file of its own."""

    path: Path
    writer: str = ""
    """As its prefix names it; empty for lines that nobody is named before."""


@dataclass(slots=True)
class _Splitter:
    """Writes each line of a log into the file where it belongs."""

    place: Path
    files: dict[str, BinaryIO] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)
    documents: dict[str, BinaryIO] = field(default_factory=dict)
    """The document of XML that each writer is inside of."""

    def take(self, line: bytes, writer: str) -> None:
        if writer not in self.files and len(self.files) >= MOST_WRITERS:
            writer = ""
        document = self.documents.get(writer)
        if document is None and (begin := _DOCUMENT.search(line)):
            if len(self.streams) >= MOST_WRITERS + MOST_DOCUMENTS:
                self._file(writer).write(line)
                return
            self._file(writer).write(line[: begin.start()] + b"\n")
            line = line[begin.start() :]
            document = self.documents[writer] = self._opened(writer)
        if document is None:
            self._file(writer).write(line)
            return
        inside, end, rest = line.partition(_DOCUMENT_END)
        document.write(inside + end + (b"\n" if end else b""))
        if end:
            document.close()
            del self.documents[writer]
            self._file(writer).write(rest)

    def close(self) -> None:
        for stream in (*self.files.values(), *self.documents.values()):
            stream.close()

    def _file(self, writer: str) -> BinaryIO:
        if writer not in self.files:
            self.files[writer] = self._opened(writer)
        return self.files[writer]

    def _opened(self, writer: str) -> BinaryIO:
        path = self.place / f"stream-{len(self.streams)}"
        self.streams.append(Stream(path, writer))
        return path.open("wb")


def split(path: Path, place: Path) -> tuple[list[Stream], str]:
    """The streams of a log, in the order in which they begin, and what is missing in it.

    A report alone is its own stream. Files go below ``place``. Raises ``OSError``.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    encoding = _encoding(head)
    if not encoding and (_is_document(head) or b"memray\0" in head[:64]):
        return [Stream(path)], ""
    splitter, progress = _Splitter(place), ctest_log.Progress()
    try:
        for line in _lines(path, encoding):
            text, writer = without_prefix(log_lines.unwrapped(line))
            for other in tuple(log_lines.ended(text, writer, splitter.files)):
                splitter.take(text, other)
            splitter.take(text, writer)
            # A number is that of a test, whose own output follows.
            if not writer.rpartition(" ")[2].isdecimal():
                progress.take(text.decode("utf-8", "backslashreplace"))
    finally:
        splitter.close()
    return splitter.streams or [Stream(path)], progress.problem


def _encoding(head: bytes) -> str:
    """How the text is encoded where it is not what the tools write; empty where it is."""
    for mark, encoding in _ENCODINGS.items():
        if head.startswith(mark):
            return encoding
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    # PowerShell writes UTF-16 without a mark as well: every other byte of a Latin text is zero.
    if len(head) > 3 and head[1::2].count(0) > 0.8 * len(head[1::2]) and head[0]:
        return "utf-16-le"
    if len(head) > 3 and head[::2].count(0) > 0.8 * len(head[::2]) and head[1]:
        return "utf-16-be"
    return ""


def _is_document(head: bytes) -> bool:
    return head.lstrip().startswith((b"<?xml", b"<valgrindoutput>"))


def _lines(path: Path, encoding: str) -> Iterator[bytes]:
    """Each line as the tools write them: UTF-8, with a line feed, which a cut one lacks."""
    if not encoding:
        with path.open("rb") as stream:
            yield from _cut_at_returns(iter(lambda: stream.readline(LONGEST_LINE_BYTES), b""))
        return
    with path.open(encoding=encoding, errors="backslashreplace", newline="\n") as text:
        read = iter(lambda: text.readline(LONGEST_LINE_BYTES), "")
        yield from _cut_at_returns(line.encode("utf-8", "backslashreplace") for line in read)


def _cut_at_returns(lines: Iterator[bytes]) -> Iterator[bytes]:
    """A progress bar goes back to the beginning of its line; what follows is a line as well."""
    for line in lines:
        content, feed = (line[:-1], b"\n") if line.endswith(b"\n") else (line, b"")
        content = content.rstrip(b" \t\r") if feed else content.rstrip(b"\r")
        if b"\r" in content:
            *before, content = content.split(b"\r")
            for piece in before:
                yield piece + b"\n"
        yield content + feed


def without_prefix(line: bytes) -> tuple[bytes, str]:
    """A line without what a runner has put before it, and who wrote it where that tells."""
    if b"\x1b" in line:
        line = _ESCAPES.sub(b"", line)
    writers: list[str] = []
    was_time = False
    for _ in range(_MOST_PREFIXES):
        # The tools' own lines begin with one of these; a frame is deep inside of one.
        line = _INDENT.sub(b"", line)
        if was_time and (level := _LEVEL.match(line)):
            line = line[level.end() :]
            continue
        if line[:1] in (b"=", b" ", b"<", b"\t", b"\n", b"-", b""):
            break
        if time := _TIME.match(line):
            line, was_time = line[time.end() :], True
            continue
        writer = _JOB.match(line) or _WRITER.match(line)
        if writer is None or (writer.lastindex == _SYSLOG_GROUP and not was_time):
            break
        writers.append(writer.group(writer.lastindex or 0).decode("utf-8", "backslashreplace"))
        line = line[writer.end() :]
    return line, " ".join(writers)
