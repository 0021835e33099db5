"""The values every layer speaks in. Knows nothing of files, processes, pytest or any tool."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from signal import Signals


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


class Outcome(StrEnum):
    """The answer of one check. ``NO_ANSWER`` is never treated as ``CLEAN``."""

    CLEAN = "clean"
    LEAK = "leak"
    NO_ANSWER = "no_answer"
    SKIPPED = "skipped"
    NOT_REPEATABLE = "not_repeatable"


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
    """Offset of ``address`` inside ``module`` where the tool tells it."""
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
class Process:
    """One process of the target and whether its report is whole."""

    pid: int
    ppid: int = 0
    command: str = ""
    is_fork: bool = False
    """Forked without exec, so the blocks of its parent are reported a second time."""
    is_complete: bool = True
    """The tool finished its leak check in this process."""
    reason: str = ""
    """Why it is not complete."""
    signal: int | None = None
    """The signal that ended it, where the report tells."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a tool found in one run of a target, all its processes together."""

    tool: str
    leaks: tuple[Leak, ...] = ()
    """As reported, process by process; see ``pipeline`` for what is counted once."""
    processes: tuple[Process, ...] = ()
    tool_version: str = ""
    problems: tuple[str, ...] = ()
    """Why this is not a whole answer. Empty only when the check is proved to have run."""
    notes: tuple[str, ...] = ()
    """Worth telling, without effect on the answer."""


@dataclass(frozen=True, slots=True)
class Target:
    """A program to check."""

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: tuple[tuple[str, str], ...] = ()
    """Variables added to the environment of the run."""
    timeout_s: float = 300.0
    memory_limit_bytes: int | None = None
    """Resident bytes, whole process tree, above which the target is killed."""
    follows_children: bool = True
    tool_args: tuple[str, ...] = ()
    """More arguments for the tool itself (valgrind's, memray's)."""
    suppressions: tuple[Path, ...] = ()
    stdin: Path | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a target under a tool; made by a pure ``plan``, carried out by ``process``."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    """Variables set on top of the inherited environment."""
    unset: tuple[str, ...] = ()
    """Variables removed from the inherited environment."""
    cwd: Path | None = None
    timeout_s: float = 300.0
    stop_signals: tuple[tuple[int, float], ...] = ((15, 5.0),)
    """Signals sent in turn to end the target, each with the seconds to wait after it; then SIGKILL."""
    memory_limit_bytes: int | None = None
    stdin: Path | None = None
    control_group: Path | None = None
    """A directory of the cgroup file system that the target moves into before it begins."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How the launched process ended, apart from anything the tool says about leaks."""

    pid: int
    exit_code: int | None
    """Exit status, ``None`` when a signal ended it."""
    signal: int | None = None
    timed_out: bool = False
    interrupted: bool = False
    memory_exceeded_bytes: int | None = None
    """Resident bytes of the tree when the memory limit was passed; ``None`` when it was not."""
    duration_s: float = 0.0
    stdout: bytes = b""
    """Head and tail only; the middle of a flood is left out."""
    stderr: bytes = b""
    leftover: tuple[int, ...] = ()
    """Descendants that outlived the target and had to be stopped."""
    peak_rss_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """The target's own end, as it stands in the report."""

    code: int | None = 0
    signal: int | None = None
    timed_out: bool = False


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; the number itself where the platform has no name for it."""
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True, slots=True)
class Growth:
    """One judged series of a check."""

    metric: str
    shape: str
    per_iteration: float
    low: float
    high: float
    iterations: int
    samples: tuple[tuple[float, float], ...] = ()
    unit: str = "bytes"
    rise: float = 0.0
    """What was gained and kept, warm-up of the first twentieth left out."""
    detectable_per_iteration: float | None = None
    """The smallest leak that would have shown; ``None`` where none would have."""
    reason: str = ""
    """Why it is undecided, and what it would take."""
    evidence: tuple[str, ...] = ()
    """Which rule said what."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One of the incident report's four explanations of growing memory, and what the run says about it."""

    letter: str
    """``A`` leak, ``B`` cache, ``C`` application logic (a burst), ``D`` fragmentation."""
    name: str
    speaks_for: tuple[str, ...] = ()
    speaks_against: tuple[str, ...] = ()
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """When a share of the memory limit is reached if the same traffic continues; ``None`` is never."""

    share: float
    requests: float | None
    rate_per_s: float
    """Production rate that the times are for; 0 when none was given."""
    seconds: float | None
    soonest_s: float | None
    latest_s: float | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the growth of one run means as a whole."""

    shape: str
    metric: str
    """The series that decided."""
    per: str
    """What the x axis counts, in the singular: ``request``, ``second``, ``sample``."""
    iterations: int
    hypotheses: tuple[Hypothesis, ...] = ()
    settled_at: int | None = None
    """Where warm-up or filling had ended: by then nine tenths of what was kept in all were there."""
    marks: tuple[Mark, ...] = ()
    limit_bytes: int = 0
    current_bytes: int = 0
    stopped: str = ""
    """Why the run ended where it did."""
    facts: tuple[str, ...] = ()
    """Worth telling besides: which live heap was read, what cannot be seen."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Growth of one series per request, with its 95 % interval."""

    metric: str
    unit: str
    per_iteration: float
    low: float
    high: float


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


@dataclass(frozen=True, slots=True)
class Check:
    """One measured test, program or service, before any comparison with the baseline."""

    id: str
    kind: str
    """``test``, ``program`` or ``service``."""
    tool: str
    findings: tuple[Finding, ...] = ()
    problems: tuple[str, ...] = ()
    """Why there is no whole answer; empty when there is one."""
    notes: tuple[str, ...] = ()
    exit: ExitStatus = ExitStatus()
    expected_exit: int | None = 0
    """Exit status the target must end with; ``None`` when any will do."""
    duration_s: float = 0.0
    growth: tuple[Growth, ...] = ()
    diagnosis: Diagnosis | None = None
    """What ``growth`` means as a whole; only where a run of requests was judged."""
    skipped: str = ""
    not_repeatable: str = ""
    command: tuple[str, ...] = ()
    reproduce: str = ""
    """The one command that shows it again."""
    tool_version: str = ""
    totals: tuple[tuple[LeakKind, Totals], ...] = ()
    """Per kind, over all processes, blocks inherited by forked children counted once."""
    output: str = ""
    """Tail of what the target wrote to standard error."""
    location: tuple[str, int] | None = None
    """Test file and line, where annotations go when no frame is in the repository."""
    processes: tuple[Process, ...] = field(default=())

    @property
    def failure(self) -> str:
        """Why the target itself has failed, in words; empty when it ended as expected."""
        end, expected = self.exit, self.expected_exit
        if end.timed_out:
            return "the program did not end in time and was stopped"
        if expected is None:
            return ""
        if end.signal is not None:
            killed = f"the program was killed by signal {end.signal} ({signal_name(end.signal)})"
            return "" if expected == -end.signal else killed
        if end.code is not None and end.code != expected:
            return f"the program ended with exit status {end.code}, expected was {expected}"
        return ""

    @property
    def is_whole(self) -> bool:
        """Whether it ran to its end, so that what was not seen is not there."""
        return not (self.problems or self.failure or self.skipped or self.not_repeatable)
