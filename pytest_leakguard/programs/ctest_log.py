"""Whether a log of CTest goes on to its last test: a log that was cut off after one proves nothing.

The lines are CTest's own (Source/CTest/cmCTestRunTest.cxx, cmCTestMultiProcessHandler.cxx): in a
log file ``2/7 Testing: NAME`` and ``End testing:``; on standard output ``Start 2: NAME``, for each
test that has ended ``2/7 Test #2: NAME ....   Passed``, and ``Total Test time``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_OF_HOW_MANY = re.compile(
    r"^ *([0-9]{1,6})/([0-9]{1,6}) (?:Test(?:ing)?: |(?:Test|MemCheck) +#[0-9])"
)
_STARTED = re.compile(r"^ *(?:Start|Testing) +([0-9]{1,6}): ")
_ENDED = re.compile(r"^ *[0-9]{1,6}/[0-9]{1,6} (?:Test|MemCheck) +#([0-9]{1,6}): ")
_LAST = ("End testing: ", "Total Test time (real)", "-- Processing memory checking output:")
_OUTPUT, _OUTPUT_END = "Output:", "<end of output>"


class Progress:
    """How far CTest came, line by line."""

    def __init__(self) -> None:
        self._positions: set[int] = set()
        self._expected = 0
        self._started: set[str] = set()
        self._ended: set[str] = set()
        self._is_in_output = False
        self._is_over = False

    def take(self, line: str) -> None:
        """One line of the log."""
        if position := _OF_HOW_MANY.match(line):
            self._positions.add(int(position.group(1)))
            self._expected = max(self._expected, int(position.group(2)))
            self._is_over = False
        if started := _STARTED.match(line):
            self._started.add(started.group(1))
        if ended := _ENDED.match(line):
            self._ended.add(ended.group(1))
        text = line.rstrip()
        if text == _OUTPUT and self._expected:
            self._is_in_output = True
        elif text.endswith(_OUTPUT_END):
            self._is_in_output = False
        elif text.startswith(_LAST):
            self._is_over = True

    @property
    def problem(self) -> str:
        """What is missing; empty for a whole log, and for one that is not CTest's."""
        if not self._expected and not self._ended:
            return ""
        if self._is_over:
            return ""
        if len(self._positions) < self._expected:
            return (
                f"the log of CTest ends after {len(self._positions)} of {self._expected} tests "
                "(cut off, or CTest was killed)"
            )
        if self._is_in_output or self._started - self._ended:
            return "the log of CTest ends inside a test (cut off, or CTest was killed)"
        return ""


def problem_in(lines: Iterable[str]) -> str:
    """What is missing in a log; empty when nothing is."""
    progress = Progress()
    for line in lines:
        progress.take(line)
    return progress.problem
