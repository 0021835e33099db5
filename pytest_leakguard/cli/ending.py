"""Lets a command tidy up when a signal ends it: SIGTERM of a build system, SIGHUP of a terminal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGTERM", "SIGHUP")
_BY_SIGNAL = 128
"""Added to a signal's number it is the exit status that shells tell."""


class _Ended(BaseException):
    """A signal came; nothing between here and there is to catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def tidy() -> Iterator[None]:
    """While this lasts, targets are stopped and directories removed before a signal ends us.

    The signal then does what it would have done. One that somebody handles or ignores, as under
    nohup, is left alone.
    """
    taken = [number for number in _numbers() if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _raise)
    ended = 0
    try:
        yield
    except _Ended as end:
        ended = end.number
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
    if ended:
        os.kill(os.getpid(), ended)
        sys.exit(_BY_SIGNAL + ended)  # the first process of a container survives it


def _numbers() -> list[int]:
    """Those that this system has."""
    return [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]


def _raise(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one does not interrupt the tidying
    raise _Ended(number)
