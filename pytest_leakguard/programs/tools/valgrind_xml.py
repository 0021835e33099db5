"""Reads valgrind's XML (protocols 4, 5 and 6) as it really is.

One file may hold several documents and damaged records. The grammar is valgrind's own
(docs/internals/xml-output-protocol4.txt and its successors); only the elements that
``valgrind_scan`` finds are looked at. Numbers are bounded, since Python refuses to read endless
ones.

A hole in the file may join two records, or two documents, into what looks like one. So everything
that valgrind says twice is compared: the kind and the sizes of a record with its text, the number
of records with what each says there are, the errors with those that are counted at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind, Totals
from pytest_leakguard.core.programs import Process, Report
from pytest_leakguard.core.text import counted
from pytest_leakguard.programs.tools import valgrind_errors
from pytest_leakguard.programs.tools.base import MOST_PROCESSES, line_number, mark_inlined
from pytest_leakguard.programs.tools.valgrind_scan import STRAY, TooLong, elements

MOST_CACHED_FRAMES = 50_000
"""Distinct frames kept while one file is read, some 25 MB; large programs have some thousands."""
_LONGEST_CACHED_BYTES = 4096
"""Bytes of a frame that is kept; longer ones are damage and do not recur."""

_KIND = re.compile(rb"<kind>\s*Leak_(\w+)\s*</kind>")
_BYTES = re.compile(rb"<leakedbytes>\s*([\d,]{1,25})\s*</leakedbytes>")
_BLOCKS = re.compile(rb"<leakedblocks>\s*([\d,]{1,25})\s*</leakedblocks>")
# "1,280 (64 direct, 1,216 indirect) bytes"; in a check against an earlier one each number carries
# " (+N)".
_DIRECT = re.compile(
    rb"\(([\d,]{1,25})(?: \([+-][\d,]{1,25}\))? direct, "
    rb"([\d,]{1,25})(?: \([+-][\d,]{1,25}\))? indirect\)"
)
_FIELD = re.compile(rb"<(ip|obj|fn|dir|file|line)>([^<]*)</\1>")
_PART = re.compile(rb"<(?:exe|arg)>([^<]*)</(?:exe|arg)>")
_SUMMARY = re.compile(
    rb"<(definitely_lost|indirectly_lost|possibly_lost|still_reachable)>\s*<bytes>([\d,]{1,25})[^<]{0,40}</bytes>"
    rb"\s*<blocks>([\d,]{1,25})"
)
_WORDS = re.compile(
    rb"([\d,]{1,25})(?: \([+-][\d,]{1,25}\))?"
    rb"(?: \([^()]{1,60}(?:\([+-][\d,]{1,25}\)[^()]{1,60}){0,2}\))?"
    rb"\s+bytes\s+in\s+([\d,]{1,25})(?: \([+-][\d,]{1,25}\))?\s+blocks\s+are\s+"
    rb"(definitely lost|indirectly lost|possibly lost|still reachable)\s+in\s+(?:new\s+)?loss\s+"
    rb"record\s+([\d,]{1,12})\s+of\s+([\d,]{1,12})"
)
"""What a record says in words: bytes, blocks, kind, its number, and how many there are."""
_ANY_KIND = re.compile(rb"<kind>\s*\w+\s*</kind>")
_OF_A_LEAK = re.compile(rb"<kind>\s*Leak|</?leaked|loss record|</?xwhat>")
_PAIR = re.compile(rb"<unique>\s*(0x[0-9a-fA-F]{1,16})\s*</unique>")
_CONTEXTS = re.compile(rb"<error_contexts>\s*([\d,]{1,12})\s*</error_contexts>")
_SHOWS_ALL = re.compile(rb"<arg>--(?:show-leak-kinds=all|show-reachable=yes)</arg>")
_TRACKS_DESCRIPTORS = re.compile(rb"<arg>--track-fds=(?:yes|all)</arg>")
_IS_QUIET = re.compile(rb"<arg>(?:-q|--quiet)</arg>")
_IN_PAIRS = tuple(b"stack frame ip fn obj file xwhat what unique".split())
_COUNTS = (b"<leak_summary>", b"<errorcounts>", b"<suppcounts>", b"<error_summary>")
_SWALLOWED = re.compile(rb"<error>|<leakedb|<kind>Leak_")
_MAY_QUOTE = (b"<error>", b"<usercomment>")
"""Elements in which parts of a record need not be those of another one that was swallowed."""
_ONCE = re.compile(rb"<(pid|ppid|tool|preamble|args|leak_summary|errorcounts|error_summary)>")
_BEGINNING = frozenset({b"preamble", b"pid", b"ppid", b"tool", b"args"})
"""What each document begins with, before anything of its program."""
_STATUS = re.compile(
    rb"<status>[^<]*<state>\s*(?:RUNNING|FINISHED)\s*</state>"
    rb"[^<]*<time>[^<]{0,40}</time>[^<]*</status>"
)
_KINDS = {
    b"DefinitelyLost": LeakKind.DEFINITELY_LOST,
    b"IndirectlyLost": LeakKind.INDIRECTLY_LOST,
    b"PossiblyLost": LeakKind.POSSIBLY_LOST,
    b"StillReachable": LeakKind.STILL_REACHABLE,
}
_OF_A_BODY = (
    *("records", "summary", "signal", "is_finished", "is_closed", "damaged_elements"),
    *("faults", "has_unset", "descriptors"),
)
"""Fields of a document that its body fills."""
_NAME_OF_KIND = re.compile(rb"<kind>\s*(\w{1,60})\s*</kind>")
_WHAT = re.compile(rb"<what>([^<]{1,500})</what>|<xwhat>\s*<text>([^<]{1,500})</text>")
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
    is_running: bool = False
    is_finished: bool = False
    is_closed: bool = False
    signal: int | None = None
    records: list[_Record] = field(default_factory=list)
    summary: dict[LeakKind, Totals] = field(default_factory=dict)
    damaged_elements: int = 0
    starts_static: bool = False
    shows_all: bool = False
    """Its options ask for a record of every block that is left."""
    tracks_descriptors: bool = False
    is_quiet: bool = False
    """Run with -q, which leaves out the counts of suppressions."""
    has_suppressed: bool = False
    first_unique: int = -1
    """The number that the first loss record has or would have among all errors."""
    once: set[bytes] = field(default_factory=set)
    """Elements seen of which each document has one."""
    uniques: set[bytes] = field(default_factory=set)
    """Of the errors and leaks that are there."""
    counted: set[bytes] = field(default_factory=set)
    """Those that are counted at the end; leaks are not among them."""
    errors: int = 0
    contexts: int = 0
    """How many errors and leaks there are, as protocol 6 says."""
    numbers: set[int] = field(default_factory=set)
    """Of the loss records since the last status."""
    highest: int = 0
    """How many loss records there are, as each of them says."""
    faults: dict[str, None] = field(default_factory=dict)
    has_unset: bool = False
    descriptors: list[tuple[Frame, ...]] = field(default_factory=list)
    """Where each was opened that was still open at the end."""


def parse(artifact: Path) -> Report:
    """The leaks in one XML file.

    Raises ``MalformedReport`` when it does not prove a whole leak check.
    """
    documents: list[_Document] = []
    frames = _Frames()
    try:
        with artifact.open("rb") as stream:
            for element in elements(stream):
                _take(element, documents, frames)
                if len(documents) > MOST_PROCESSES:
                    why = f"more than {MOST_PROCESSES} documents in one file"
                    raise _malformed(artifact, documents, why)
            size_bytes = stream.tell()
    except TooLong:
        why = "an element without an end tag (file is not valgrind's XML, or was overwritten)"
        raise _malformed(artifact, documents, why) from None
    if not documents:
        raise MalformedReport(
            f"{artifact}: no <valgrindoutput>; {size_bytes} bytes read", Report("valgrind")
        )
    return _report(artifact, documents, size_bytes)


class _Frames:
    """Reads stacks. Most frames of a report recur, so each distinct text is read once."""

    def __init__(self) -> None:
        self._by_text: dict[bytes, Frame] = {}

    def read(self, stack: bytes) -> tuple[Frame, ...]:
        """The calls of one ``<stack>``, innermost first."""
        if len(self._by_text) > MOST_CACHED_FRAMES:
            self._by_text.clear()
        pieces = stack.split(b"</frame>")
        pieces.pop()  # what stands behind the last end tag
        return mark_inlined([self._by_text.get(piece) or self._add(piece) for piece in pieces])

    def _add(self, piece: bytes) -> Frame:
        frame = _frame(piece)
        if len(piece) <= _LONGEST_CACHED_BYTES:
            self._by_text[piece] = frame
        return frame


def _take(token: bytes, documents: list[_Document], frames: _Frames) -> None:
    if token == b"<?xml" or not documents:
        documents.append(_Document())
    document = documents[-1]
    if b"\0" in token or (_SWALLOWED.search(token, 1) and not token.startswith(_MAY_QUOTE)):
        _open(documents).damaged_elements += 1
    if token.startswith((b"<error>", b"<stack>")):
        take = _take_error if token.startswith(b"<error>") else _take_lone_stack
        take(token, _open(documents), frames)
    elif token in (STRAY, b"</error>") or (b"</" not in token and token != b"<?xml"):
        _open(documents).damaged_elements += 1  # one half of it is lost
    elif token.startswith((b"<pid>", b"<ppid>")):
        _take_pid(token, document)
    elif token == b"</valgrindoutput>":
        _once(b"end", document if all(one.is_closed for one in documents) else _open(documents))
        _open(documents).is_closed = True
    elif token.startswith(b"<status>"):
        _take_status(token, documents)
    elif token.startswith(b"<fatal_signal>"):
        number = re.search(rb"<signo>\s*(\d{1,3})\s*</signo>", token)
        _open(documents).signal = int(number.group(1)) if number else None
    elif token.startswith(_COUNTS):
        _take_counts(token, _open(documents))
    else:
        _take_header(token, document)


def _take_lone_stack(token: bytes, document: _Document, frames: _Frames) -> None:
    """Up to version 3.20 valgrind writes so where a descriptor was opened that is still open.

    What it says about it goes to standard error. Anywhere else an error has lost what is around it.
    """
    if document.tracks_descriptors and document.is_finished and not document.records:
        document.descriptors.append(frames.read(_between(token, b"<stack>", b"</stack>")))
    else:
        document.damaged_elements += 1


def _take_pid(token: bytes, document: _Document) -> None:
    if token.startswith(b"<pid>"):
        _once(b"pid", document)
        document.pid = _pid(token)
    else:
        _once(b"ppid", document)
        document.ppid = _pid(token)


def _once(name: bytes, document: _Document) -> None:
    """Notes an element of which a document has one; a second one is of another document.

    So is a part of the beginning that stands behind the end of the program.
    """
    if name in document.once or (name in _BEGINNING and document.is_finished):
        document.damaged_elements += 1
    document.once.add(name)


def _take_counts(token: bytes, document: _Document) -> None:
    if token.startswith(b"<leak_summary>"):
        _once(b"leak_summary", document)
        document.summary = {
            LeakKind(kind.decode()): Totals(_number(size), _number(blocks))
            for kind, size, blocks in _SUMMARY.findall(token)
        }
    elif token.startswith(b"<errorcounts>"):
        document.counted.update(_PAIR.findall(token))
        document.once.add(b"errorcounts")
    elif token.startswith(b"<suppcounts>"):
        document.has_suppressed = document.has_suppressed or b"<pair>" in token
        document.once.add(b"suppcounts")
    elif contexts := _CONTEXTS.search(token):
        document.contexts = _number(contexts.group(1))


def _open(documents: list[_Document]) -> _Document:
    """The document a body element belongs to: the last one that is not closed.

    When forked children share their parent's file, all headers come first and the bodies
    follow as the processes end, so that the parent, which ends last, gets the first header.
    """
    return next(
        (document for document in reversed(documents) if not document.is_closed), documents[-1]
    )


def _give_last_body_to_parent(documents: list[_Document]) -> None:
    """The parent waits for its children, so the body that was closed last is its own."""
    closed = [document for document in documents if document.is_closed]
    if len(documents) < 2 or not closed or documents[0].is_closed:
        return
    last, first = closed[0], documents[0]  # bodies were given out from the last header backwards
    for name in _OF_A_BODY:
        kept = getattr(first, name)
        setattr(first, name, getattr(last, name))
        setattr(last, name, kept)


def _take_status(token: bytes, documents: list[_Document]) -> None:
    document = _open(documents)
    if not _STATUS.fullmatch(token):
        document.damaged_elements += 1
    if b"RUNNING" in token:
        _once(b"RUNNING", documents[-1])
        documents[-1].is_running = True
    elif b"FINISHED" in token:
        _once(b"FINISHED", document)
        document.is_finished = True
        document.records.clear()  # leak checks made during the run show the same blocks again
        document.numbers.clear()
        document.summary, document.highest, document.first_unique = {}, 0, -1
        document.once.discard(b"leak_summary")


def _take_header(token: bytes, document: _Document) -> None:
    if single := _ONCE.match(token):
        _once(single.group(1), document)
    if token.startswith(b"<preamble>"):
        version = re.search(rb"Using Valgrind-([\w.]{1,40})", token)
        document.version = version.group(1).decode() if version else ""
    elif token.startswith(b"<tool>"):
        document.tool = _text(token[6:-7][:40]).strip()
    elif token.startswith(b"<args>"):
        document.shows_all = _SHOWS_ALL.search(token) is not None
        own = _between(token, b"<vargv>", b"</vargv>")
        document.is_quiet = _IS_QUIET.search(own) is not None
        document.tracks_descriptors = _TRACKS_DESCRIPTORS.search(token) is not None
        document.command = " ".join(
            _text(part) for part in _PART.findall(_between(token, b"<argv>", b"</argv>"))
        )


def _pid(token: bytes) -> int:
    number = re.search(rb">\s*(\d{1,10})\s*<", token)
    return int(number.group(1)) if number else 0


def _between(token: bytes, opening: bytes, closing: bytes) -> bytes:
    """What the first such element holds.

    Later stacks tell where a block came from, not where it leaked.
    """
    start = token.find(opening)
    end = token.find(closing, start)
    return token[start + len(opening) : end] if 0 <= start < end else b""


def _take_error(token: bytes, document: _Document, frames: _Frames) -> None:
    last = token.rfind(b"<error>")
    # Otherwise the end of this record or of an earlier one is lost.
    if last or not token.endswith(b"</error>"):
        document.damaged_elements += 1
        token = token[last:]
    document.errors += 1
    document.uniques.update(_PAIR.findall(token)[:1])
    is_odd = _is_odd(token)
    document.damaged_elements += is_odd
    kind = _KIND.search(token)
    if kind is None and not _OF_A_LEAK.search(token, 0, _before_stack(token)):
        document.starts_static = document.starts_static or _is_static_start(token, frames)
        _take_other(token, document, frames)
        return
    size, blocks = _BYTES.search(token), _BLOCKS.search(token)
    stack = _between(token, b"<stack>", b"</stack>")
    if kind is None or size is None or blocks is None or not stack or kind.group(1) not in _KINDS:
        document.damaged_elements += not is_odd
        return
    _compare_words(token, kind.group(1), _number(size.group(1)), _number(blocks.group(1)), document)
    leaked_bytes, indirect = _number(size.group(1)), 0
    if split := _DIRECT.search(token):
        # <leakedbytes> has them included, <leakedblocks> has not.
        indirect = _number(split.group(2))
    document.records.append(
        _Record(
            _KINDS[kind.group(1)],
            max(0, leaked_bytes - indirect),
            indirect,
            _number(blocks.group(1)),
            frames.read(stack),
        )
    )


def _before_stack(token: bytes) -> int:
    """Where the first stack begins, whose frames may hold any name."""
    at = token.find(b"<stack>")
    return at if at >= 0 else len(token)


def _is_odd(token: bytes) -> bool:
    """Whether this cannot be one whole error as valgrind writes it."""
    head = token[: _before_stack(token)]
    has_one_of_each = (
        len(_ANY_KIND.findall(head)) == 1 and token.count(b"<kind>") == token.count(b"</kind>") == 1
    )
    is_balanced = all(
        token.count(b"<%b>" % name) == token.count(b"</%b>" % name) for name in _IN_PAIRS
    )
    return not (has_one_of_each and is_balanced)


def _compare_words(
    token: bytes, kind: bytes, size_bytes: int, blocks: int, document: _Document
) -> None:
    words = _WORDS.search(token, 0, _before_stack(token))
    if words is None:
        return
    said = LeakKind(words.group(3).decode().replace(" ", "_"))
    figures = _number(words.group(1)), _number(words.group(2))
    if said is not _KINDS[kind] or figures != (size_bytes, blocks):
        document.damaged_elements += 1
    number = _number(words.group(4))
    if not document.numbers and (unique := _PAIR.search(token)):
        document.first_unique = int(unique.group(1), 16) - number + 1
    document.numbers.add(number)
    document.highest = max(document.highest, _number(words.group(5)))


def _take_other(token: bytes, document: _Document, frames: _Frames) -> None:
    """An error that is no leak of memory."""
    named, words = _NAME_OF_KIND.search(token), _WHAT.search(token)
    kind = _text(named.group(1)) if named else ""
    what = _text(words.group(1) or words.group(2)) if words else ""
    stack = frames.read(_between(token, b"<stack>", b"</stack>"))
    if valgrind_errors.is_open_descriptor(kind):
        if stack:  # one without was inherited
            document.descriptors.append(stack)
    elif valgrind_errors.is_unset(what):
        document.has_unset = True
    elif valgrind_errors.is_invalid(what) and len(document.faults) < valgrind_errors.MOST_ERRORS:
        document.faults[valgrind_errors.described(what, stack)] = None


def _is_static_start(token: bytes, frames: _Frames) -> bool:
    """Whether an error of another kind shows that the program carries its own C library."""
    stack = frames.read(_between(token, b"<stack>", b"</stack>"))
    return any(frame.function in _STATIC_ONLY for frame in stack)


def _frame(piece: bytes) -> Frame:
    fields = {name: _text(value) for name, value in _FIELD.findall(piece)}
    directory, file, line = fields.get(b"dir"), fields.get(b"file"), fields.get(b"line", "")
    return Frame(
        function=fields.get(b"fn"),
        file=f"{directory}/{file}" if directory and file else file,
        line=line_number(line),
        module=fields.get(b"obj"),
        address=_hexadecimal(fields.get(b"ip", "0")),
    )


def _hexadecimal(text: str) -> int:
    try:
        return int(text, 16) if len(text) <= 18 else 0
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
    if len(documents) > 1:
        why = (
            f"{len(documents)} processes wrote into this one file (valgrind does that when "
            "--log-file and --xml-file both contain %p); use --xml-file=NAME.%p.xml alone"
        )
        raise _malformed(artifact, documents, why)
    recovered = _recovered(documents)
    process = recovered.processes[0]
    if not documents[0].is_closed:
        raise MalformedReport(f"{artifact}: {process.reason} (byte {size_bytes})", recovered)
    if not process.is_complete or recovered.problems:
        problem = recovered.problems[0] if recovered.problems else process.reason
        raise MalformedReport(f"{artifact}: {problem}", recovered)
    return recovered


def _malformed(artifact: Path, documents: list[_Document], why: str) -> MalformedReport:
    """The error for a file as a whole, with what could be read of it.

    Where several processes wrote, none of them may show the damage, so the report itself tells it.
    """
    message, recovered = f"{artifact}: {why}", _recovered(documents)
    if len(documents) > 1:
        recovered = replace(recovered, problems=(message, *recovered.problems))
    return MalformedReport(message, recovered)


def _recovered(documents: list[_Document]) -> Report:
    leaks: list[Leak] = []
    processes: list[Process] = []
    problems: list[str] = []
    for position, document in enumerate(documents):
        leaks.extend(_leaks(document))
        processes.append(_process(document, position))
        problems.extend(_problems(document))
    return Report(
        tool="valgrind",
        leaks=tuple(leaks),
        processes=tuple(processes),
        tool_version=next((document.version for document in documents if document.version), ""),
        problems=tuple(problems),
        errors=tuple(error for document in documents for error in document.faults),
        notes=(valgrind_errors.UNINITIALISED,)
        if any(document.has_unset for document in documents)
        else (),
    )


def _leaks(document: _Document) -> Iterator[Leak]:
    """The records, and what the summary (protocol 6) counts of kinds that were not shown.

    The latter are leaks without a stack.
    """
    records = document.records if document.is_finished else _last_of_each(document.records)
    shown = {record.kind for record in records}
    shows_indirect = LeakKind.INDIRECTLY_LOST in shown
    for record in records:
        size_bytes = record.direct_bytes
        if not shows_indirect:
            # The run did not ask for indirect records, so their bytes stand only here.
            size_bytes += record.indirect_bytes
        yield Leak(record.kind, size_bytes, record.blocks, record.stack, document.pid)
    has_indirect = any(record.indirect_bytes for record in records)
    for kind, total in document.summary.items():
        is_inside_definite = kind is LeakKind.INDIRECTLY_LOST and has_indirect
        if total.size_bytes and kind not in shown and not is_inside_definite:
            yield Leak(kind, total.size_bytes, total.blocks, (), document.pid)
    for stack in document.descriptors:
        yield Leak(LeakKind.FILE_DESCRIPTORS, 0, 1, stack, document.pid)


def _last_of_each(records: list[_Record]) -> list[_Record]:
    """The newest record of each stack: several checks during a run show the same blocks again.

    Within one check a stack stands once per kind.
    """
    newest: dict[tuple[LeakKind, tuple[int, ...]], _Record] = {}
    for record in records:
        newest[record.kind, tuple(frame.address for frame in record.stack)] = record
    return list(newest.values())


def _process(document: _Document, position: int) -> Process:
    return Process(
        pid=document.pid,
        ppid=document.ppid,
        command=document.command,
        is_fork=not document.is_running and (document.is_finished or position > 0),
        is_complete=document.is_finished
        and document.is_closed
        and document.tool in ("", "memcheck"),
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
        return (
            "valgrind gave up before it started the program "
            "(an option or a suppression file is wrong)"
        )
    if not document.is_running:
        return (
            "forked, then killed or replaced by a program that valgrind did not follow "
            "(--trace-children=yes); it made no leak check"
        )
    return (
        "the report ends before the program did (killed, or the report was cut off); "
        "no final leak check"
    )


def _has_all_numbers(document: _Document) -> bool:
    """Whether there must be a record for each loss record's number.

    What an earlier check had seen and is freed by now has a number, and no record. Checks during
    the run show by the numbers they have used up.
    """
    made_no_check_before = document.first_unique == document.errors - len(document.numbers)
    is_asked = document.shows_all and not document.has_suppressed
    return is_asked and document.is_closed and made_no_check_before


def _problems(document: _Document) -> Iterator[str]:
    if document.damaged_elements:
        damaged = counted(document.damaged_elements, "damaged element")
        yield f"{damaged}, so leak records may be missing"
    if missing := document.counted - document.uniques:
        yield f"records are missing: {counted(len(missing), 'error')} of those counted"
    if document.is_closed and document.contexts > document.errors:
        yield (
            f"records are missing: {document.contexts} errors are counted, "
            f"and {document.errors} are there"
        )
    if _has_all_numbers(document) and len(document.numbers) < document.highest:
        yield (f"leak records are missing: {len(document.numbers)} of {document.highest} are there")
    is_ended = document.is_closed and document.is_finished
    if is_ended and not document.once >= {b"preamble", b"pid", b"tool"}:
        yield "its beginning is missing or damaged, so leak records may be missing as well"
    counts = {b"errorcounts"} if document.is_quiet else {b"errorcounts", b"suppcounts"}
    has_counts = document.once >= counts
    if is_ended and b"args" in document.once and not has_counts:
        yield "the counts at its end are missing, so leak records may be as well"
    if document.starts_static:
        yield (
            "the program is statically linked: valgrind cannot see its allocations; "
            "link it dynamically"
        )
    for kind, total in document.summary.items():
        found = sum(record.direct_bytes for record in document.records if record.kind is kind)
        if 0 < found < total.size_bytes:
            yield (
                f"leak records are missing: the summary says {total.size_bytes} bytes {kind}, "
                f"the records {found}"
            )
