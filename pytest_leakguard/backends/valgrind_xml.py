"""Reads valgrind's XML (protocols 4, 5 and 6) as it really is: streamed, damaged, interleaved.

A scanner over bytes instead of an XML parser, because the real files are often not XML: thread
names and user comments are written unescaped, arguments are copied as raw bytes, and forked
children write into their parent's document. The grammar is valgrind's own (docs/internals/
xml-output-protocol4.txt and its successors); only the elements named below are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pytest_leakguard.errors import MalformedReport
from pytest_leakguard.model import Frame, Leak, LeakKind, Process, Report

CHUNK_BYTES = 1 << 20
LONGEST_ELEMENT_BYTES = 16 << 20
"""An element longer than this is not valgrind's: the deepest stack (500 frames) is under 2 MiB."""
MOST_CACHED_FRAMES = 50_000

_TOKEN = re.compile(
    rb"<error>.*?</error>|<status>.*?</status>|<fatal_signal>.*?</fatal_signal>"
    rb"|<clientmsg>.*?</clientmsg>|<usercomment>.*?</usercomment>|<preamble>.*?</preamble>"
    rb"|<args>.*?</args>|<leak_summary>.*?</leak_summary>|<suppcounts>.*?</suppcounts>"
    rb"|<pid>\s*\d+\s*</pid>|<ppid>\s*\d+\s*</ppid>|<tool>.*?</tool>|<\?xml|</valgrindoutput>",
    re.DOTALL,
)
_OPENED = re.compile(
    rb"<(?:error|status|fatal_signal|clientmsg|usercomment|preamble|args|leak_summary|suppcounts|p?pid|tool)>"
    rb"|<\?xm?$|<[/a-z_]*$"
)
_KIND = re.compile(rb"<kind>\s*Leak_(\w+)\s*</kind>")
_BYTES = re.compile(rb"<leakedbytes>\s*([\d,]+)\s*</leakedbytes>")
_BLOCKS = re.compile(rb"<leakedblocks>\s*([\d,]+)\s*</leakedblocks>")
# "1,280 (64 direct, 1,216 indirect) bytes"; in a check against an earlier one each number carries " (+N)"
_DIRECT = re.compile(rb"\(([\d,]+)(?: \([+-][\d,]+\))? direct, ([\d,]+)(?: \([+-][\d,]+\))? indirect\)")
_STACK = re.compile(rb"<stack>(.*?)</stack>", re.DOTALL)
_FIELD = re.compile(rb"<(ip|obj|fn|dir|file|line)>(.*?)</\1>", re.DOTALL)
_SUMMARY = re.compile(rb"<(definitely|indirectly|possibly)_lost>\s*<bytes>([\d,]+)")
_KINDS = {
    b"DefinitelyLost": LeakKind.DEFINITELY_LOST,
    b"IndirectlyLost": LeakKind.INDIRECTLY_LOST,
    b"PossiblyLost": LeakKind.POSSIBLY_LOST,
    b"StillReachable": LeakKind.STILL_REACHABLE,
}
_STATIC_ONLY = frozenset({"__libc_setup_tls", "_dl_non_dynamic_init", "_dl_relocate_static_pie"})
"""Start-up functions that glibc has in libc.a alone (csu/libc-tls.c, elf/dl-support.c)."""


@dataclass(slots=True)
class _Record:
    kind: LeakKind
    direct_bytes: int
    indirect_bytes: int
    blocks: int
    stack: tuple[Frame, ...]


@dataclass(slots=True)
class _Document:
    """One ``<valgrindoutput>``: what has been seen of it so far."""

    pid: int = 0
    ppid: int = 0
    command: str = ""
    version: str = ""
    tool: str = ""
    has_header: bool = False
    is_running: bool = False
    is_finished: bool = False
    is_closed: bool = False
    signal: int | None = None
    records: list[_Record] = field(default_factory=list)
    summary: dict[str, int] = field(default_factory=dict)
    damaged_records: int = 0
    starts_static: bool = False


def parse(artifact: Path) -> Report:
    """The leaks in one XML file; raises ``MalformedReport`` when it does not prove a whole leak check."""
    documents: list[_Document] = []
    size_bytes = 0
    try:
        with artifact.open("rb") as stream:
            for token in _tokens(stream):
                _take(token, documents)
            size_bytes = stream.tell()
    except _TooLong:
        _refuse(artifact, documents, "an element without an end tag (file is not valgrind's XML, or was overwritten)")
    if not documents:
        raise MalformedReport(f"{artifact}: no <valgrindoutput>; {size_bytes} bytes read", Report("valgrind"))
    return _report(artifact, documents, size_bytes)


class _TooLong(Exception):
    pass


def _tokens(stream: BinaryIO) -> Iterator[bytes]:
    """The elements of interest in file order, from a file of any size in bounded memory."""
    pending = b""
    while chunk := stream.read(CHUNK_BYTES):
        pending += chunk
        end = 0
        for match in _TOKEN.finditer(pending):
            yield match.group()
            end = match.end()
        opened = _OPENED.search(pending, end)
        pending = pending[opened.start() :] if opened else pending[-1:]
        if len(pending) > LONGEST_ELEMENT_BYTES:
            raise _TooLong
    if pending.startswith(b"<error>"):
        yield pending  # cut in the middle; may still hold a whole stack


def _take(token: bytes, documents: list[_Document]) -> None:
    if token == b"<?xml" or not documents:
        documents.append(_Document())
    document = documents[-1]
    if token.startswith(b"<error>"):
        _take_error(token, _open(documents))
    elif token == b"</valgrindoutput>":
        _open(documents).is_closed = True
    elif token.startswith(b"<status>"):
        _take_status(token, documents)
    elif token.startswith(b"<pid>"):
        document.pid, document.has_header = int(token[5:-6]), True
    elif token.startswith(b"<ppid>"):
        document.ppid = int(token[6:-7])
    elif token.startswith(b"<fatal_signal>"):
        number = re.search(rb"<signo>\s*(\d+)", token)
        _open(documents).signal = int(number.group(1)) if number else None
    elif token.startswith(b"<leak_summary>"):
        summary = {kind.decode() + "_lost": _number(size) for kind, size in _SUMMARY.findall(token)}
        _open(documents).summary = summary
    else:
        _take_header(token, document)


def _open(documents: list[_Document]) -> _Document:
    """The document a body element belongs to: the last one that is not closed.

    When forked children share their parent's file, all headers come first and the bodies
    follow as the processes end, so that the parent, which ends last, gets the first header.
    """
    return next((document for document in reversed(documents) if not document.is_closed), documents[-1])


def _give_last_body_to_parent(documents: list[_Document]) -> None:
    """The parent waits for its children, so the body that was closed last is its own."""
    closed = [document for document in documents if document.is_closed]
    if len(documents) < 2 or not closed or documents[0].is_closed:
        return
    last, first = closed[0], documents[0]  # bodies were given out from the last header backwards
    for name in ("records", "summary", "signal", "is_finished", "is_closed", "damaged_records"):
        kept = getattr(first, name)
        setattr(first, name, getattr(last, name))
        setattr(last, name, kept)


def _take_status(token: bytes, documents: list[_Document]) -> None:
    document = _open(documents)
    if b"RUNNING" in token:
        documents[-1].is_running = True
    elif b"FINISHED" in token:
        document.is_finished = True
        document.records.clear()  # leak checks made during the run show the same blocks again
        document.summary = {}


def _take_header(token: bytes, document: _Document) -> None:
    if token.startswith(b"<preamble>"):
        version = re.search(rb"Using Valgrind-([\w.]+)", token)
        document.version = version.group(1).decode() if version else ""
    elif token.startswith(b"<tool>"):
        document.tool = _text(token[6:-7]).strip()
    elif token.startswith(b"<args>"):
        command = re.search(rb"<argv>(.*?)</argv>", token, re.DOTALL)
        parts = re.findall(rb"<(?:exe|arg)>(.*?)</(?:exe|arg)>", command.group(1), re.DOTALL) if command else []
        document.command = " ".join(_text(part) for part in parts)


def _take_error(token: bytes, document: _Document) -> None:
    kind = _KIND.search(token)
    if kind is None:
        document.starts_static = document.starts_static or _is_static_start(token)
        return
    size, blocks, stack = _BYTES.search(token), _BLOCKS.search(token), _STACK.search(token)
    if size is None or blocks is None or stack is None or kind.group(1) not in _KINDS or token.count(b"<error>") > 1:
        document.damaged_records += 1
        return
    leaked_bytes, indirect = _number(size.group(1)), 0
    if split := _DIRECT.search(token):
        indirect = _number(split.group(2))  # <leakedbytes> has them included, <leakedblocks> has not
    document.records.append(
        _Record(
            _KINDS[kind.group(1)],
            max(0, leaked_bytes - indirect),
            indirect,
            _number(blocks.group(1)),
            _frames(stack.group(1)),
        )
    )


def _is_static_start(token: bytes) -> bool:
    """Whether an error of another kind shows that the program carries its own C library."""
    stack = _STACK.search(token)
    return stack is not None and any(frame.function in _STATIC_ONLY for frame in _frames(stack.group(1)))


_cache: dict[bytes, Frame] = {}


def _frames(stack: bytes) -> tuple[Frame, ...]:
    """Innermost first. Most frames of a report recur, so each distinct text is read once."""
    if len(_cache) > MOST_CACHED_FRAMES:
        _cache.clear()
    pieces = stack.split(b"</frame>")
    pieces.pop()
    frames = [_cache.get(piece) or _cache.setdefault(piece, _frame(piece)) for piece in pieces]
    for index in range(len(frames) - 1):
        if frames[index].address == frames[index + 1].address and frames[index].address:
            frames[index] = _inlined(frames[index])  # inlined calls repeat the address of their caller
    return tuple(frames)


def _inlined(frame: Frame) -> Frame:
    return Frame(frame.function, frame.file, frame.line, frame.module, frame.address, frame.offset, is_inlined=True)


def _frame(piece: bytes) -> Frame:
    fields = {name: _text(value) for name, value in _FIELD.findall(piece)}
    directory, file, line = fields.get(b"dir"), fields.get(b"file"), fields.get(b"line", "")
    return Frame(
        function=fields.get(b"fn"),
        file=f"{directory}/{file}" if directory and file else file,
        line=int(line) if line.isdecimal() else None,
        module=fields.get(b"obj"),
        address=_hexadecimal(fields.get(b"ip", "0")),
    )


def _hexadecimal(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _number(digits: bytes) -> int:
    return int(digits.replace(b",", b"") or b"0")


def _text(raw: bytes) -> str:
    text = raw.decode("utf-8", "backslashreplace")
    if "&" in text:
        text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return text


def _report(artifact: Path, documents: list[_Document], size_bytes: int) -> Report:
    _give_last_body_to_parent(documents)
    recovered = _recovered(documents)
    if len(documents) > 1:
        raise MalformedReport(
            f"{artifact}: {len(documents)} processes wrote into this one file (valgrind does that when --log-file "
            "and --xml-file both contain %p); use --xml-file=NAME.%p.xml alone",
            recovered,
        )
    document = documents[0]
    if not document.is_closed:
        raise MalformedReport(f"{artifact}: {recovered.processes[0].reason} (byte {size_bytes})", recovered)
    if not recovered.processes[0].is_complete or recovered.problems:
        problem = recovered.problems[0] if recovered.problems else recovered.processes[0].reason
        raise MalformedReport(f"{artifact}: {problem}", recovered)
    return recovered


def _refuse(artifact: Path, documents: list[_Document], why: str) -> None:
    raise MalformedReport(f"{artifact}: {why}", _recovered(documents))


def _recovered(documents: list[_Document]) -> Report:
    return Report(
        tool="valgrind",
        leaks=tuple(leak for document in documents for leak in _leaks(document)),
        processes=tuple(_process(document, position) for position, document in enumerate(documents)),
        tool_version=next((document.version for document in documents if document.version), ""),
        problems=tuple(problem for document in documents for problem in _problems(document)),
    )


def _leaks(document: _Document) -> Iterator[Leak]:
    shows_indirect = any(record.kind is LeakKind.INDIRECTLY_LOST for record in document.records)
    for record in document.records:
        size_bytes = record.direct_bytes
        if not shows_indirect:  # the run did not ask for indirect records: their bytes stand only here
            size_bytes += record.indirect_bytes
        yield Leak(record.kind, size_bytes, record.blocks, record.stack, document.pid)


def _process(document: _Document, position: int) -> Process:
    return Process(
        pid=document.pid,
        ppid=document.ppid,
        command=document.command,
        is_fork=not document.is_running and (document.is_finished or position > 0),
        is_complete=document.is_finished and document.is_closed and document.tool in ("", "memcheck"),
        reason=_reason(document),
        signal=document.signal,
    )


def _reason(document: _Document) -> str:
    if document.tool not in ("", "memcheck"):
        return f"valgrind ran its tool {document.tool}, which checks no leaks; use --tool=memcheck"
    if document.is_finished and document.is_closed:
        return ""
    if document.is_finished:
        return "the report ends inside the final leak check"
    if document.is_closed:
        return "valgrind gave up before it started the program (an option or a suppression file is wrong)"
    if not document.is_running:
        return (
            "forked, then killed or replaced by a program that valgrind did not follow (--trace-children=yes); "
            "it made no leak check"
        )
    return "the report ends before the program did (killed, or the report was cut off); no final leak check"


def _problems(document: _Document) -> Iterator[str]:
    if document.damaged_records:
        yield f"{document.damaged_records} damaged leak record(s) could not be read"
    if document.starts_static:
        yield "the program is statically linked: valgrind cannot see its allocations; link it dynamically"
    found = dict.fromkeys(document.summary, 0)
    for record in document.records:
        if record.kind in found:
            found[record.kind] += record.direct_bytes
    for kind, size_bytes in document.summary.items():
        if found[kind] and found[kind] < size_bytes:
            yield f"leak records are missing: the summary says {size_bytes} bytes {kind}, the records {found[kind]}"
