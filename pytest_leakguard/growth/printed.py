"""What tools print again and again: ps, free, sar, top, pmap, docker stats, kubectl top, /proc.

Each format is told by its own words and gives samples in bytes; a sample begins where its words
come anew. Text in, samples out; what cannot be told is asked for (``MalformedReport``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.growth import thresholds

KIB = 2.0**10
"""Bytes: ps, pidstat and the kernel mean 1,024 by k and kB (proc(5))."""
UNITS = {"b": 1.0, "k": KIB, "m": KIB**2, "g": KIB**3, "t": KIB**4, "p": KIB**5}
"""Powers of 1024, by the first letter."""
_DECIMAL = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
"""As docker prints them, beside MiB and GiB."""
_SIZE = re.compile(r"([0-9]+(?:[.,][0-9]+)?)\s*([kKmMgGtTpP]?)(i?)([bB]?)")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r|\x0c")
_SCREEN = "\x1b[?1049h"
"""What a program that draws the whole screen begins with."""
_CURSOR = re.compile(r"\x1b\[\d+;\d+H\S")
"""Text at a place of the screen, as only a program that draws what has changed writes it."""
_CLOCK = re.compile(r"\d{1,2}:\d\d:\d\d")
_LEAST_KIB = 2**18
"""Least memory of a machine, in KiB, for plain numbers of ``free`` to be surely KiB: with -m it
would be a machine of 256 GiB."""
_FEW = 8
"""Upper limit of the processes that somebody has chosen, rather than those of a whole machine."""
_STAYING = 0.75
"""Least share of the samples in which a process has to be to stay in a list of the largest."""
_PS_COLUMNS = 11
"""Columns of ``ps aux``."""
_RSS, _PID = 5, 1
"""Of ``ps aux``, from 0."""


@dataclass(slots=True)
class Samples:
    """What was printed, sample by sample."""

    source: str
    """What printed it."""
    taken: str
    """Which columns, in which unit."""
    values: list[dict[str, float]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    clocks: list[str] = field(default_factory=list)
    """Time of each sample where it is printed; as many as samples, or none."""

    def begin(self, line: int) -> None:
        self.values.append({})
        self.lines.append(line)

    def add(self, name: str, value: float) -> None:
        """Processes of one sample add up."""
        now = self.values[-1]
        now[name] = now.get(name, 0.0) + value


Rows = Sequence[tuple[int, str]]
Reader = Callable[[Rows, str, float], "Samples | None"]


def plain_rows(text: str) -> list[tuple[int, str]]:
    """Return the rows that hold something, without a terminal's escape sequences."""
    rows: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        plain = _ESCAPES.sub("", line).strip()
        if plain:
            rows.append((number, plain))
    return rows


def read_printed(text: str, name: str, unit: float = 0.0) -> Samples | None:
    """Return the samples; ``None`` where it is nothing that is known here.

    ``unit`` are the bytes of what has no unit of its own, where the caller says so.
    """
    rows = plain_rows(text)
    if _SCREEN in text and _CURSOR.search(text):
        raise MalformedReport(
            f"{name}: this is the screen of watch, which draws only what has changed; record "
            "while true; do free -h; sleep 1; done (or whatever command it repeats)"
        )
    for reader in _READERS:
        samples = reader(rows, name, unit)
        if samples is not None and samples.values:
            return samples
    return None


def size_of(text: str, default: float = 1.0, is_decimal: bool = False) -> float | None:
    """Return the bytes of ``1.2Gi``, ``12.3MiB``, ``0.1g`` or ``345``; ``None`` if it is none.

    ``default`` is the unit of a number without one.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        return None
    number, letter = float(found[1].replace(",", ".")), found[2].lower()
    if not letter:
        return number * (1.0 if found[4] else default)
    if is_decimal and not found[3] and found[4]:
        return number * _DECIMAL[letter + "b"]
    return number * UNITS[letter]


def _words_in(rows: Rows, *words: str) -> bool:
    """Return whether one row holds them all."""
    return any(all(word in row.split() for word in words) for _, row in rows)


# sar


def _sar(rows: Rows, name: str, unit: float) -> Samples | None:
    if not _words_in(rows, "kbmemused"):
        return None
    samples = Samples("sar -r", "kbmemused, in KiB")
    at = -1
    for line, row in rows:
        cells = re.sub(r"(?<=\d) ([AP]M)\b", r"\1", row, count=1).split()
        if "kbmemused" in cells:
            at = cells.index("kbmemused") if _is_clock(cells[0]) else -1
        elif at > 0 and len(cells) > at and _is_clock(cells[0]):
            value = size_of(cells[at], KIB)
            if value is not None:
                samples.begin(line)
                samples.add(MetricName.MEMORY_USED, value)
                samples.clocks.append(re.sub(r"([AP]M)", r" \1", cells[0]))
    return samples


def _is_clock(text: str) -> bool:
    return bool(_CLOCK.match(text))


# ps


def _ps_aux(rows: Rows, name: str, unit: float) -> Samples | None:
    """``ps aux``, with its heading or, behind grep, without."""
    if not any(_is_ps_row(row.split(None, _PS_COLUMNS - 1)) for _, row in rows):
        return None
    samples = Samples("ps aux", "RSS, in KiB, added up over the processes")
    found: list[dict[str, float]] = []
    is_new = True
    for line, row in rows:
        cells = row.split(None, _PS_COLUMNS - 1)
        if not _is_ps_row(cells):
            is_new |= cells[:2] == ["USER", "PID"]
            continue
        if is_new or cells[_PID] in found[-1]:
            samples.begin(line)
            found.append({})
        is_new = False
        found[-1][cells[_PID]] = float(cells[_RSS]) * KIB
    return _added_up(samples, found)


def _added_up(samples: Samples, found: Sequence[dict[str, float]]) -> Samples:
    """The processes of each sample added up; of a list of the largest those that stay in it.

    Who enters such a list brings all that it has had before, which is no growth.
    """
    is_largest = _are_the_largest(found)
    counts = Counter(pid for processes in found for pid in processes)
    staying = [pid for pid, count in counts.items() if count >= _STAYING * len(found)]
    if is_largest and staying:
        whole = [at for at, processes in enumerate(found) if processes.keys() >= set(staying)]
        samples.taken = f"RSS, in KiB, added up over the {len(staying)} processes that stay in it"
        samples.values = [{} for _ in whole]
        samples.lines = [samples.lines[at] for at in whole]
        found = [{pid: found[at][pid] for pid in staying} for at in whole]
    for value, processes in zip(samples.values, found, strict=True):
        value[MetricName.RESIDENT_SET] = sum(processes.values())
    return samples


def _are_the_largest(found: Sequence[dict[str, float]]) -> bool:
    """Whether it is ``ps aux --sort=-%mem | head``: always as many, largest first, not the same."""
    if len({len(processes) for processes in found}) != 1 or len(found[0]) < 2:
        return False
    sizes = [list(processes.values()) for processes in found]
    # %MEM is rounded, so that neighbours may be the other way round.
    are_sorted = sum(max(part) == part[0] for part in sizes) >= _STAYING * len(sizes)
    return are_sorted and len({frozenset(processes) for processes in found}) > 1


def _is_ps_row(cells: Sequence[str]) -> bool:
    """``root 1 0.0 0.3 168 12 ? Ss Nov23 0:02 /sbin/init``."""
    if len(cells) < _PS_COLUMNS or not all(cells[at].isdigit() for at in (1, 4, 5)):
        return False
    shares = all(re.fullmatch(r"\d+(\.\d+)?", cells[at]) for at in (2, 3))
    return shares and bool(re.fullmatch(r"\d+:\d\d(:\d\d)?", cells[9]))


def _ps_columns(rows: Rows, name: str, unit: float) -> Samples | None:
    """``ps -o pid,rss,...`` with its heading, once or with each sample."""
    heading = next((row.split() for _, row in rows if _is_ps_heading(row.split())), None)
    if heading is None:
        return None
    if "RSS" not in heading:
        raise MalformedReport(
            f"{name}: ps printed shares of memory only (%MEM); expected the column RSS: "
            "ps -o pid,rss,cmd"
        )
    samples = Samples("ps -o", "RSS, in KiB, added up over the processes")
    at, who = heading.index("RSS"), heading.index("PID") if "PID" in heading else -1
    seen: set[str] = set()
    for line, row in rows:
        cells = row.split()
        if _is_ps_heading(cells):
            seen = set()
        elif len(cells) > at and cells[at].isdigit():
            key = cells[who] if who >= 0 else ""
            if not seen or key in seen:
                samples.begin(line)
                seen = set()
            seen.add(key)
            samples.add(MetricName.RESIDENT_SET, float(cells[at]) * KIB)
    return samples


def _is_ps_heading(cells: Sequence[str]) -> bool:
    upper = {"PID", "PPID", "RSS", "%MEM", "VSZ", "CMD", "COMMAND", "%CPU", "USER"}
    return bool({"RSS", "%MEM"} & set(cells)) and len(upper & set(cells)) >= min(2, len(cells))


# free, /proc/meminfo


def _free(rows: Rows, name: str, unit: float) -> Samples | None:
    if not _words_in(rows, "total", "used", "free") or not any(
        r.startswith("Mem:") for _, r in rows
    ):
        return None
    heading: list[str] = []
    samples = Samples("free", "total - available of Mem")
    for line, row in rows:
        cells = row.split()
        if "total" in cells and "used" in cells:
            heading = cells
        elif row.startswith("Mem:") and heading:
            by_name = dict(zip(heading, cells[1:], strict=False))
            samples.begin(line)
            samples.add(MetricName.MEMORY_USED, _used(by_name, f"{name}: line {line}", unit))
    return samples


def _used(cells: dict[str, str], place: str, unit: float) -> float:
    total = size_of(cells.get("total", ""), 1.0)
    if total is None:
        raise MalformedReport(f"{place}: expected what free prints, as `free` or `free -h`")
    is_plain = cells["total"].isdigit()
    if is_plain and not unit and total < _LEAST_KIB:
        raise MalformedReport(
            f"{place}: is the total of {cells['total']} in MiB (free -m) or GiB (free -g)? "
            "Say --unit MiB, or record with free -h"
        )
    default = unit or KIB
    sizes = {key: size_of(value, default) for key, value in cells.items()}
    whole, available, used = sizes.get("total"), sizes.get("available"), sizes.get("used")
    if whole is not None and available is not None:
        return whole - available
    if used is None:
        raise MalformedReport(f"{place}: expected the column used")
    return used


def _fields(
    rows: Rows, source: str, first: str, taken: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[int, dict[str, float]]]:
    """``Name: 123 kB`` line by line; a sample begins with the field ``first``."""
    now: dict[str, float] = {}
    begun = 0
    for line, row in rows:
        name, _, rest = row.partition(":")
        if name == first:
            if now:
                yield begun, now
            now, begun = {}, line
        cells = rest.split()
        if wanted(name) and cells and cells[0].isdigit():
            now[name] = float(cells[0]) * (KIB if cells[1:2] == ["kB"] else 1)
    if now:
        yield begun, now


def _meminfo(rows: Rows, name: str, unit: float) -> Samples | None:
    if not any(row.startswith("MemTotal:") for _, row in rows):
        return None
    samples = Samples("/proc/meminfo", "MemTotal - MemAvailable, in KiB")
    for line, found in _fields(rows, "", "MemTotal", "", lambda key: key.startswith("Mem")):
        if {"MemTotal", "MemAvailable"} <= found.keys():
            samples.begin(line)
            samples.add(MetricName.MEMORY_USED, found["MemTotal"] - found["MemAvailable"])
    return samples


_STATUS = {
    "VmRSS": MetricName.RESIDENT_SET,
    "RssAnon": MetricName.ANONYMOUS,
    "VmSwap": MetricName.ANONYMOUS,
    "Threads": MetricName.THREADS,
}


def _status(rows: Rows, name: str, unit: float) -> Samples | None:
    if not any(row.startswith("VmRSS:") for _, row in rows):
        return None
    samples = Samples("/proc/PID/status", "VmRSS and RssAnon, in KiB, and Threads")
    first = "Name" if any(row.startswith("Name:") for _, row in rows) else "VmRSS"
    for line, found in _fields(rows, "", first, "", lambda key: key in _STATUS):
        samples.begin(line)
        for key, value in found.items():
            samples.add(_STATUS[key], value)
    return samples


_SMAPS = {"Rss": MetricName.RESIDENT_SET, "Anonymous": MetricName.ANONYMOUS}
_SMAPS["Swap"] = MetricName.ANONYMOUS
_RANGE = re.compile(r"([0-9a-f]{5,16})-[0-9a-f]{5,16} [rwxps-]{4} ")


def _smaps(rows: Rows, name: str, unit: float) -> Samples | None:
    ranges = [row for _, row in rows if _RANGE.match(row)]
    if not ranges:
        return None
    if not any(row.startswith("Rss:") for _, row in rows):
        raise MalformedReport(
            f"{name}: /proc/PID/maps holds addresses, no memory in use; record /proc/PID/smaps"
        )
    samples = Samples("/proc/PID/smaps", "Rss and Anonymous, in KiB")
    before = None
    for line, row in rows:
        found = _RANGE.match(row)
        if found:
            start = int(found[1], 16)
            if before is None or start <= before:  # addresses begin anew
                samples.begin(line)
            before = start
            continue
        key, _, rest = row.partition(":")
        if key in _SMAPS and samples.values:
            samples.add(_SMAPS[key], float(rest.split()[0]) * KIB)
    return samples


# top, pmap


def _top(rows: Rows, name: str, unit: float) -> Samples | None:
    """The machine's used memory, or the processes' own where they are few, as with ``top -p``."""
    if not any(row.startswith("top - ") for _, row in rows):
        return None
    samples = Samples("top", "used of the line Mem")
    resident: list[list[float]] = []
    at = -1
    for line, row in rows:
        cells = row.split()
        if row.startswith("top - "):
            samples.begin(line)
            clock = _CLOCK.search(row)
            samples.clocks.append(clock[0] if clock else "")
            resident.append([])
            at = -1
        elif "PID" in cells and "RES" in cells:
            at = cells.index("RES")
        elif 0 <= at < len(cells) and cells[0].isdigit() and resident:
            resident[-1].append(size_of(cells[at], KIB) or 0.0)
        found = re.match(r"([KMGT])iB Mem ?:.*?([\d.,]+) used", row)
        if found and samples.values:
            number = float(found[2].replace(",", "."))
            samples.add(MetricName.MEMORY_USED, number * UNITS[found[1].lower()])
    # A process that was chosen may have ended: then there is none.
    if resident and resident[0] and all(len(sizes) <= _FEW for sizes in resident):
        samples.taken = "RES, in KiB where it has no unit, added up over the processes"
        samples.values = [{MetricName.RESIDENT_SET: sum(sizes)} for sizes in resident]
    return samples


def _pmap(rows: Rows, name: str, unit: float) -> Samples | None:
    """``total kB  123456  65432  54321``: all, resident, dirty."""
    totals = [(line, row.split()) for line, row in rows if row.startswith("total kB")]
    totals = [(line, cells) for line, cells in totals if len(cells) >= 4]
    if not totals:
        return None
    samples = Samples("pmap -x", "RSS of the line total, in KiB")
    for line, cells in totals:
        samples.begin(line)
        samples.add(MetricName.RESIDENT_SET, float(cells[3]) * KIB)
    return samples


# docker, kubectl


def _docker(rows: Rows, name: str, unit: float) -> Samples | None:
    if not any("MEM USAGE" in row for _, row in rows) and not any(" / " in row for _, row in rows):
        return None
    usage = re.compile(r"([0-9.]+[kKMGT]?i?B) / [0-9.]+[kKMGT]?i?B")
    samples = Samples("docker stats", "MEM USAGE, added up over the containers")
    seen: set[str] = set()
    for line, row in rows:
        found = usage.search(row)
        key = row.split()[0]
        if "MEM USAGE" in row:
            seen = set()
        elif found:
            if not seen or key in seen:
                samples.begin(line)
                seen = set()
            seen.add(key)
            samples.add(MetricName.RESIDENT_SET, size_of(found[1], is_decimal=True) or 0.0)
    return samples


def _kubectl(rows: Rows, name: str, unit: float) -> Samples | None:
    if not any("MEMORY(bytes)" in row for _, row in rows):
        return None
    samples = Samples("kubectl top", "MEMORY(bytes), added up over the pods")
    at = -1
    seen: set[str] = set()
    for line, row in rows:
        cells = row.split()
        if "MEMORY(bytes)" in cells:
            at, seen = cells.index("MEMORY(bytes)"), set()
            continue
        value = size_of(cells[at]) if 0 < at < len(cells) else None
        if value is None:
            continue
        key = " ".join(cells[: at - 1])
        if not seen or key in seen:
            samples.begin(line)
            seen = set()
        seen.add(key)
        samples.add(MetricName.RESIDENT_SET, value)
    return samples


# one number a line


def _numbers(rows: Rows, name: str, unit: float) -> Samples | None:
    """``cat memory.current`` in a loop, or ``ps -o rss=``: only whole pages are surely bytes."""
    if not all(row.isdigit() for _, row in rows) or len(rows) < 2:
        return None
    numbers = [float(row) for _, row in rows]
    is_pages = all(number % thresholds.PAGE_BYTES == 0 for number in numbers)
    if not unit and not (is_pages and max(numbers) >= thresholds.MIB):
        raise MalformedReport(
            f"{name}: numbers without a name; say their unit: --unit B, KiB (as ps prints) or MiB"
        )
    samples = Samples("one number a line", f"in units of {unit or 1:.0f} bytes")
    for (line, _), number in zip(rows, numbers, strict=True):
        samples.begin(line)
        samples.add(MetricName.RESIDENT_SET, number * (unit or 1.0))
    return samples


_READERS: tuple[Reader, ...] = (
    _sar,
    _top,
    _free,
    _meminfo,
    _status,
    _smaps,
    _pmap,
    _docker,
    _kubectl,
    _ps_aux,
    _ps_columns,
    _numbers,
)
