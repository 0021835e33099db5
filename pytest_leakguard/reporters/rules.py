"""What each kind of leak is called, means and asks for, in formats that know rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_leakguard.core.leaks import LeakKind


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of leak as a rule."""

    id: str
    """Never changes its meaning."""
    name: str
    short: str
    full: str
    help: str
    tags: tuple[str, ...]


_ACCEPT = (
    "If it may stay, accept it on your machine with a reason and commit the baseline: "
    '`pytest-leakguard baseline accept FINGERPRINT --reason "why it may stay"`.'
)
_NATIVE, _PYTHON, _RESOURCE = (
    ("memory-leak", "native"),
    ("memory-leak", "python"),
    ("resource-leak", "reliability"),
)


def _rule(id_: str, name: str, short: str, full: str, advice: str, tags: tuple[str, ...]) -> Rule:
    return Rule(id_, name, short, full, f"{advice} {_ACCEPT}", tags)


RULES: Mapping[LeakKind, Rule] = {
    LeakKind.DEFINITELY_LOST: _rule(
        "LG101",
        "DefinitelyLost",
        "Memory that nothing points to any more.",
        "A block was allocated and never freed, and the last pointer to it is gone.",
        "Free the block on every path that drops its last pointer, also on those that handle "
        "errors.",
        _NATIVE,
    ),
    LeakKind.INDIRECTLY_LOST: _rule(
        "LG102",
        "IndirectlyLost",
        "Memory that only a lost block points to.",
        "The block hangs on another block that is definitely lost, as the nodes of a lost list do.",
        "Fix the block it hangs on; the free of that one must free this one too.",
        _NATIVE,
    ),
    LeakKind.POSSIBLY_LOST: _rule(
        "LG103",
        "PossiblyLost",
        "Memory that only a pointer into its middle reaches.",
        "Nothing points to the start of the block, only into it; that may be chance or a design.",
        "Keep a pointer to the start of the block, or free it.",
        _NATIVE,
    ),
    LeakKind.STILL_REACHABLE: _rule(
        "LG104",
        "StillReachable",
        "Memory that was still pointed to at the end.",
        "The program ended without freeing a block that it could still reach.",
        "Free it before the program ends where it grows with the work done.",
        _NATIVE,
    ),
    LeakKind.PYTHON_OBJECTS: _rule(
        "LG201",
        "PythonObjects",
        "Python objects that every run of a test leaves behind.",
        "The interpreter's blocks rise with every repetition of the test; the holders say what "
        "keeps them.",
        "Break the chain: clear the container, bound the cache, or use weak references.",
        _PYTHON,
    ),
    LeakKind.GROWTH: _rule(
        "LG301",
        "Growth",
        "Memory of a service grows with every request.",
        "Over the run memory rose by an amount per request whose confidence interval lies above "
        "what is allowed.",
        "Look at what a request keeps: sessions, caches without a bound, listeners, buffers.",
        ("memory-leak", "service"),
    ),
    LeakKind.FILE_DESCRIPTORS: _rule(
        "LG401",
        "FileDescriptors",
        "File descriptors that are never closed.",
        "The number of open descriptors rises with every repetition.",
        "Close files and sockets in a with block or a finally clause.",
        _RESOURCE,
    ),
    LeakKind.THREADS: _rule(
        "LG402",
        "Threads",
        "Threads that never end.",
        "The number of threads rises with every repetition.",
        "Join the threads, or shut the pool down that made them.",
        _RESOURCE,
    ),
    LeakKind.CHILD_PROCESSES: _rule(
        "LG403",
        "ChildProcesses",
        "Child processes that never end or are never waited for.",
        "The number of child processes rises with every repetition.",
        "Wait for every child, and stop those that do not end by themselves.",
        _RESOURCE,
    ),
    LeakKind.MAPPINGS: _rule(
        "LG404",
        "Mappings",
        "Memory mappings that are never unmapped.",
        "The number or size of mappings rises with every repetition.",
        "Unmap what was mapped, and close what holds a mapping.",
        _RESOURCE,
    ),
}
