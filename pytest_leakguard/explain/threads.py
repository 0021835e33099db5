"""Threads in words: what they run, without the number that each new one has in its name."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_leakguard.core.foreign import mro_of, namespace_of
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.text import place
from pytest_leakguard.counters._cpython import frames_of_threads
from pytest_leakguard.explain.code_owner import Owner, frames_of, owner
from pytest_leakguard.explain.kinds import kind_of

STILL_RUNNING = "still running"
_NUMBER = re.compile(r"\d+")
_MOST_CALLS = 3
"""Innermost calls of a thread that are named: what it waits in, and who waits."""


def thread_holders() -> tuple[str, ...]:
    """The newest thread, and where it is."""
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if not threads:
        return ("a thread that Python does not know",)
    last = threads[-1]
    frames = frames_of(frames_of_threads().get(last.ident or 0))
    calls = tuple(f"call of {_in_short(frame)}" for frame in frames[:_MOST_CALLS])
    return (f"{_kind(last)}, {STILL_RUNNING}", *calls)


def _in_short(frame: Frame) -> str:
    """Without the folder of what is the interpreter's."""
    if owner(frame.file or "") is Owner.INTERPRETER:
        return place(replace(frame, file=Path(frame.file or "").name))
    return place(frame)


def _kind(thread: threading.Thread) -> str:
    """``threading.Timer that waits for shop.expire``, ``daemon thread flusher-N``."""
    inside = namespace_of(thread) or {}
    if any(base is threading.Timer for base in mro_of(type(thread))):
        return f"threading.Timer that waits to call {_called(inside.get('function'))}"
    name = _NUMBER.sub("N", thread.name)
    return f"daemon thread {name}" if thread.daemon else f"thread {name}"


def _called(function: Any) -> str:
    return kind_of(function).removeprefix("function ")
