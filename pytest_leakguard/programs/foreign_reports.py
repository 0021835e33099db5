"""What a file is that is no report of leaks, in words that say what to do instead."""

from __future__ import annotations

import re

_EMPTY = (
    "the file is empty, which proves nothing: valgrind ran with -q (CTest's default; set "
    'MEMORYCHECK_COMMAND_OPTIONS to "--leak-check=full" and it writes a log), LeakSanitizer found '
    "nothing and LSAN_OPTIONS lacks log_threads=1, or the program never ran"
)
_KNOWN = (
    (rb"\Adesc: .*\ncmd: .*\ntime_unit:", "of massif, valgrind's heap profiler, which checks no leaks"),
    (rb'\A\{"dhatFileVersion"', "of DHAT, valgrind's heap profiler, which checks no leaks"),
    (rb"^(?:version: 1\ncreator: |# callgrind format)", "of callgrind or cachegrind, which check no leaks"),
    (
        rb"<testsuites?[ >]",
        "of a test runner (JUnit XML), which says what passed and not what leaked; give the log that "
        "valgrind or the sanitizer wrote (of meson: meson-logs/testlog-valgrind.txt)",
    ),
    (rb"<Site [^>]*BuildName|<DynamicAnalysis ", "of CTest for CDash; give MemoryChecker.*.log or LastDynamicAnalysis_*.log"),
    (rb"^Process \d+: \d+ leaks? for ", "of macOS leaks(1), which is not read"),
    (rb"MemorySanitizer", "of MemorySanitizer, which checks no leaks (-fsanitize=address does)"),
    (rb"ThreadSanitizer", "of ThreadSanitizer, which checks no leaks (-fsanitize=address does)"),
    (rb"HWAddressSanitizer", "of HWAddressSanitizer, which checks no leaks (-fsanitize=leak does)"),
    (rb": runtime error: ", "of UndefinedBehaviorSanitizer, which checks no leaks (-fsanitize=address does)"),
    (rb"\Av \d+ [0-9a-f]+\n|heaptrack", "of heaptrack, which judges nothing"),
    (rb"^~~Dr\.M~~ ", "of Dr. Memory, which is not read"),
    (rb"\A= Start\n|^@ .*:\[0x", "of mtrace, which is not read"),
    (rb"\A\x7fELF", "a program or a core dump; `pytest-leakguard run -- PROGRAM` checks a program"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(pattern, re.MULTILINE), words) for pattern, words in _KNOWN)


def explained(head: bytes, is_empty: bool) -> str:
    """What a file that begins like this is; empty when nobody knows."""
    if is_empty:
        return _EMPTY
    for pattern, words in _PATTERNS:
        if pattern.search(head):
            return f"it is {'' if words.startswith('a ') else 'a report '}{words}"
    return ""
