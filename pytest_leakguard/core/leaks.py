"""A leak as a tool reports it, and a finding: the leak by its stable name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LeakKind(StrEnum):
    """What is wrong with the memory or resource; the first four are valgrind's leak kinds."""

    DEFINITELY_LOST = "definitely_lost"
    INDIRECTLY_LOST = "indirectly_lost"
    POSSIBLY_LOST = "possibly_lost"
    STILL_REACHABLE = "still_reachable"
    PYTHON_OBJECTS = "python_objects"
    GROWTH = "growth"
    FILE_DESCRIPTORS = "file_descriptors"
    THREADS = "threads"
    CHILD_PROCESSES = "child_processes"
    MAPPINGS = "mappings"


class Status(StrEnum):
    """How one finding compares with the committed baseline."""

    NEW = "new"
    GROWN = "grown"
    KNOWN = "known"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Frame:
    """One call on a stack, as far as the tool could name it."""

    function: str | None = None
    """Demangled name; ``None`` where there are no symbols."""
    file: str | None = None
    """Source path as the compiler recorded it, or the base name alone."""
    line: int | None = None
    module: str | None = None
    """Path of the executable or shared object; ``None`` when it was unloaded."""
    address: int = 0
    """Program counter in the address space of the run."""
    offset: int | None = None
    """Offset of ``address`` inside ``module`` where the tool reports it."""
    is_inlined: bool = False
    """The call was inlined into the next outer frame, so it has no call site of its own."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Memory that one call path allocated and nobody freed."""

    kind: LeakKind
    size_bytes: int
    """Bytes of these blocks themselves; blocks that hang on them are leaks of their own."""
    blocks: int
    stack: tuple[Frame, ...]
    """Innermost call first."""
    pid: int = 0
    """The process that reported it; 0 when the report does not say."""
    holders: tuple[str, ...] = ()
    """What still refers to it, outermost first; empty when nobody does or nobody knows."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Bytes and blocks of one leak kind."""

    size_bytes: int = 0
    blocks: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.size_bytes + other.size_bytes, self.blocks + other.blocks)


@dataclass(frozen=True, slots=True)
class Rate:
    """Growth of one series per request, with its 95 % interval."""

    metric: str
    unit: str
    per_iteration: float
    low: float
    high: float
    per: str = "request"
    """What it is counted by: a run of the load command where nobody knows the requests."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One leak by its stable name; all blocks with that name summed."""

    fingerprint: str
    kind: LeakKind
    size_bytes: int
    blocks: int
    stack: tuple[Frame, ...]
    status: Status = Status.NEW
    is_gating: bool = True
    """Fails the build as long as it is not accepted."""
    holders: tuple[str, ...] = ()
    """What keeps it alive, outermost first, one text for each step."""
    checks: tuple[str, ...] = ()
    owner: str = ""
    reason: str = ""
    """Why it was accepted, or why it no longer is."""
    sites: tuple[str, ...] = ()
    """Every ``file:line`` this name was allocated at."""
    details: tuple[str, ...] = ()
    """What piles up, the text of the line and the like, one fact per line."""
    rate: Rate | None = None
    """How fast it grows, for growth; other leaks have a size."""
    held_by: str = ""
    """The holders as a path that a person reads: ``shop.SEEN (dict, +1 item per run) -> Order``."""
    former: tuple[str, ...] = ()
    """Fingerprints under which it may have been accepted before runtimes were folded."""

    @property
    def way(self) -> str:
        """The path of holders in one line; empty where nobody holds it, or nobody knows."""
        return self.held_by or " -> ".join(self.holders)
