"""What a file is that is no report of leaks, in words that say what to do instead."""

from __future__ import annotations

import re

_EMPTY = (
    "the file is empty, which proves nothing: valgrind ran with -q (CTest's default; set "
    'MEMORYCHECK_COMMAND_OPTIONS to "--leak-check=full" and it writes a log), LeakSanitizer found '
    "nothing and LSAN_OPTIONS lacks log_threads=1, or the program never ran"
)
_ADDRESS = "which checks no leaks (-fsanitize=address does)"
_PROFILER = "valgrind's heap profiler, which checks no leaks"
_KNOWN = (
    (rb"\Adesc: .*\ncmd: .*\ntime_unit:", f"of massif, {_PROFILER}"),
    (rb'\A\{"dhatFileVersion"', f"of DHAT, {_PROFILER}"),
    (
        rb"^(?:version: 1\ncreator: |# callgrind format)",
        "of callgrind or cachegrind, which check no leaks",
    ),
    (
        rb"<testsuites?[ >]",
        "of a test runner (JUnit XML), which says what passed and not what leaked; give the log "
        "that valgrind or the sanitizer wrote (of meson: meson-logs/testlog-valgrind.txt)",
    ),
    (
        rb"<Site [^>]*BuildName|<DynamicAnalysis ",
        "of CTest for CDash; give MemoryChecker.*.log or LastDynamicAnalysis_*.log",
    ),
    (rb"^Process \d+: \d+ leaks? for ", "of macOS leaks(1), which is not read"),
    (rb"MemorySanitizer", f"of MemorySanitizer, {_ADDRESS}"),
    (rb"ThreadSanitizer", f"of ThreadSanitizer, {_ADDRESS}"),
    (rb"HWAddressSanitizer", f"of HWAddressSanitizer, {_ADDRESS}"),
    (rb": runtime error: ", f"of UndefinedBehaviorSanitizer, {_ADDRESS}"),
    (rb"\Av \d+ [0-9a-f]+\n|heaptrack", "of heaptrack, which judges nothing"),
    (rb"^~~Dr\.M~~ ", "of Dr. Memory, which is not read"),
    (rb"\A= Start\n|^@ .*:\[0x", "of mtrace, which is not read"),
)
_PATTERNS = tuple((re.compile(pattern, re.MULTILINE), words) for pattern, words in _KNOWN)
_PROGRAM = b"\x7fELF"


def explained(head: bytes, is_empty: bool) -> str:
    """What a file that begins like this is; empty when nobody knows."""
    if is_empty:
        return _EMPTY
    if head.startswith(_PROGRAM):
        return "it is a program or a core dump; `pytest-leakguard run -- PROGRAM` checks a program"
    for pattern, words in _PATTERNS:
        if pattern.search(head):
            return f"it is a report {words}"
    return ""
