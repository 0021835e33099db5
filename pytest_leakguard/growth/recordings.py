"""Series that somebody else recorded, as numbers in bytes; knows formats, judges nothing.

Reads JSON (Prometheus' too), CSV with a header (Grafana's too), psrecord's log, ``pidstat -r``,
``sadf -d -- -r`` (sar), and what ``printed`` knows. Text in, values out: the caller opens the file.
Whatever is damaged raises ``MalformedReport`` with file and place; nothing is repaired or guessed,
for a wrong series gives a wrong verdict: what cannot be told is asked for.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from pytest_leakguard.core.errors import MalformedReport, UsageProblem
from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.printed import Samples, read_printed, size_of

Cell = float | None

_UNITS = {"b": 1, "bytes": 1, "k": 2**10, "kb": 2**10, "kib": 2**10, "m": 2**20, "mb": 2**20}
_UNITS |= {"mib": 2**20, "g": 2**30, "gb": 2**30, "gib": 2**30}
"""Powers of 1024 throughout: psrecord divides by 1024², pidstat and sar count KiB."""
_NAMES = {
    MetricName.RESIDENT_SET: ("real", "resident", "res", "vmrss"),
    MetricName.ANONYMOUS: ("anonymous", "rssanon"),
    MetricName.UNIQUE_SET: (),
    MetricName.PROPORTIONAL_SET: (),
    MetricName.PRIVATE_BYTES: (),
    MetricName.PRIVATE_DIRTY: (),
    MetricName.MEMORY_USED: ("memory_used",),
    MetricName.HEAP: (MetricName.HEAP_BYTES, "heap_used", "heapused"),
    MetricName.BLOCKS: ("allocated_blocks",),
    MetricName.DESCRIPTORS: ("fd", "num_fds", "descriptors", "fd_nr"),
    MetricName.THREADS: ("num_threads", "nlwp"),
    MetricName.PROCESSES: ("processes", "nproc"),
    "requests": ("request", "iterations", "iteration", "calls"),
    "time": (
        "t",
        "elapsed_time",
        "elapsed",
        "timestamp",
        "timestamps",
        "seconds",
        "time_s",
        "date",
        "datetime",
    ),
}
_CANONICAL: dict[str, str] = {}
"""The name of a series by every heading that it may have."""
for _name, _aliases in _NAMES.items():
    _CANONICAL |= dict.fromkeys((_name, *_aliases), str(_name))
_FIXED = {
    "kbmemused": (MetricName.MEMORY_USED, 2**10),
    "mem_real": (MetricName.RESIDENT_SET, 2**20),
    "mem_uss": (MetricName.UNIQUE_SET, 2**20),
}
"""sar's and psrecord's own column names, whose unit is known."""
_COUNTED = {
    MetricName.BLOCKS,
    MetricName.DESCRIPTORS,
    MetricName.THREADS,
    MetricName.PROCESSES,
    "requests",
    "time",
}
_CLOCK = re.compile(r"(\d{1,2}):(\d\d):(\d\d)(?: ?([AP])M)?")
_FIRST_MS = 1e11
"""Least time since 1970 that is taken for milliseconds: 1973 in these, the year 5138 in seconds."""
_DAY_S = 86400
"""Seconds in a day."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One or more series over a common axis; sizes in bytes."""

    requests: tuple[float, ...]
    """The x axis: never falls."""
    series: Mapping[str, tuple[Cell, ...]]
    """By the names of ``metrics.METRICS``; ``None`` where there was no reading."""
    axis: str
    """What ``requests`` counts: ``requests``, ``seconds`` or ``samples``."""
    notes: tuple[str, ...] = ()
    """Worth telling the reader: a substitute axis, columns that were left out."""


Columns = dict[str, list[Cell]]
Place = Callable[[int], str]
"""Names the n-th sample of a file, for messages."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller says of a recording that does not say it itself."""

    unit: float = 0.0
    """Bytes of one unit of memory; 0: as the recording says."""
    column: str = ""
    """Part of the heading, or of the labels, of the series that is meant."""


NOTHING_ASKED = Asked()
_SIZE_UNITS = {"": 1.0, **_UNITS}


def unit_of(text: str) -> float:
    """Return the bytes of ``KiB``, ``MB`` or ``bytes``; raises ``UsageProblem`` for others."""
    try:
        return float(_SIZE_UNITS[text.lower()])
    except KeyError:
        raise UsageProblem(f"--unit {text}: expected B, KiB, MiB or GiB") from None


def read_series(text: str, name: str, asked: Asked = NOTHING_ASKED) -> Recording:
    """Return what ``text`` recorded; ``name`` is the file's, for messages.

    Raises ``MalformedReport`` naming the file, the line or element, and what was expected there.
    """
    start = text.lstrip("\ufeff").strip()
    if not start:
        raise MalformedReport(f"{name}: empty; expected JSON or a table with a header")
    if start[0] in "{[":
        return _recording(_json(start, name, asked), name, lambda i: f"{name}: sample {i}")
    rows = [(i, row.strip()) for i, row in enumerate(text.split("\n"), 1) if row.strip()]
    is_pidstat = any("minflt/s" in row.split() for _, row in rows[:5])
    if is_pidstat:
        columns, lines = _pidstat(rows, name)
        return _recording(columns, name, lambda i: f"{name}: line {lines[i]}")
    samples = read_printed(text, name, asked.unit)
    if samples is not None:
        return _of_samples(samples, name)
    columns, lines = _table(rows, name, asked)
    return _recording(columns, name, lambda i: f"{name}: line {lines[i]}")


def _of_samples(samples: Samples, name: str) -> Recording:
    names = {key for value in samples.values for key in value}
    columns: Columns = {}
    for key in sorted(names):
        columns[key] = [value.get(key) for value in samples.values]
    are_timed = len(samples.clocks) == len(samples.values) and all(samples.clocks)
    if are_timed:
        columns["time"] = [_seconds(clock, name) for clock in samples.clocks]
    recording = _recording(columns, name, lambda i: f"{name}: line {samples.lines[i]}")
    note = f"read as {samples.source}: {samples.taken}"
    return replace(recording, notes=(note, *recording.notes))


def _recording(columns: Columns, name: str, place: Place) -> Recording:
    axis = next((key for key in ("requests", "time") if columns.get(key)), "samples")
    time, requests = columns.pop("time", []), columns.pop("requests", [])
    series = {key: tuple(cells) for key, cells in columns.items() if cells}
    time = _in_seconds(time)
    readings = [cell for cells in series.values() for cell in cells]
    if all(reading is None for reading in readings):
        raise MalformedReport(
            f"{name}: no readings; expected a series such as rss, anon or heap; "
            "another one is read with --column (a part of its heading) and --unit"
        )
    length = max(map(len, series.values()))
    xs = {"requests": requests, "time": _unwrapped(time), "samples": range(length)}[axis]
    for key, cells in ((axis, xs), *series.items()):
        if len(cells) != length:
            raise MalformedReport(f"{name}: {len(cells)} samples of {key}; expected {length}")
    if axis == "requests":
        return Recording(_rising(xs, axis, place), series, axis)
    unit = "seconds" if axis == "time" else axis
    note = f"{name} counts no requests: growth is per {unit.removesuffix('s')}"
    return Recording(_rising(xs, axis, place), series, unit, (note,))


def _in_seconds(times: Sequence[Cell]) -> list[Cell]:
    """Return times since 1970 that are in milliseconds as seconds: no clock is so far ahead."""
    known = [time for time in times if time is not None]
    if not known or min(known) < _FIRST_MS:
        return list(times)
    return [None if time is None else time / 1e3 for time in times]


def _rising(xs: Sequence[Cell], axis: str, place: Place) -> tuple[float, ...]:
    known: list[float] = []
    for i, x in enumerate(xs):
        if x is None or (known and x < known[-1]):
            raise MalformedReport(f"{place(i)}: {axis} {x}; expected a count that never falls")
        known.append(float(x))
    return tuple(known)


def _unwrapped(times: Sequence[Cell]) -> list[Cell]:
    """Return clock times that go on after midnight."""
    days, result = 0, list(times)
    for i, (before, now) in enumerate(pairwise(times), 1):
        if before is not None and now is not None:
            days += now < before - _DAY_S / 2 and before < _DAY_S
            result[i] = now + days * _DAY_S
    return result


def _json(text: str, name: str, asked: Asked) -> Columns:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise MalformedReport(f"{name}: line {error.lineno}: {error.msg}; expected JSON") from None
    except (ValueError, RecursionError):  # an integer of thousands of digits; nested too deeply
        raise MalformedReport(f"{name}: expected JSON with plain numbers") from None
    if not isinstance(document, dict):
        raise MalformedReport(f'{name}: expected an object such as {{"requests": [], "rss": []}}')
    if isinstance(document.get("data"), dict) and "result" in document["data"]:
        return _prometheus(document["data"], name, asked)
    columns: Columns = {}
    for key, values in document.items():
        known, factor = _known(key)
        factor = asked.unit if asked.unit and _is_memory(known) and factor == 1 else factor
        if known and isinstance(values, list) and known not in columns:
            columns[known] = []
            for i, value in enumerate(values):
                place = f"{name}: {key}[{i}]"
                columns[known].append(None if value is None else _number(value, factor, place))
    return columns


def _is_memory(known: str) -> bool:
    return bool(known) and known not in _COUNTED


def _prometheus(data: Mapping[str, Any], name: str, asked: Asked) -> Columns:
    """Return the sum over the series of a range query, at the times that all of them have."""
    chosen: list[tuple[str, Mapping[float, float]]] = []
    for i, one in enumerate(data["result"] if isinstance(data["result"], list) else []):
        place = f"{name}: result {i}"
        if not isinstance(one, dict) or not isinstance(one.get("values"), list):
            raise MalformedReport(f"{place}: expected values, as a range query gives (query_range)")
        labels = json.dumps(one.get("metric", {}))
        if asked.column in labels:
            series = one.get("metric", {}).get("__name__", "")
            chosen.append((series, _points(one["values"], asked.unit or 1.0, place)))
    kinds = {_kind_of(series) for series, _ in chosen}
    if len(kinds) != 1:
        raise MalformedReport(
            f"{name}: {len(chosen)} series of {len(kinds)} kinds; "
            "say which with --column, a part of the labels"
        )
    times = sorted(set.intersection(*(set(points) for _, points in chosen)))
    values: list[Cell] = [sum(points[time] for _, points in chosen) for time in times]
    return {"time": list(times), kinds.pop(): values}


def _points(values: Sequence[Any], unit: float, place: str) -> dict[float, float]:
    points: dict[float, float] = {}
    for one in values:
        if not isinstance(one, list) or len(one) != 2:
            raise MalformedReport(f"{place}: expected pairs of time and value")
        points[_number(one[0], 1, f"{place}: time")] = _number(one[1], unit, place)
    return points


def _kind_of(series: str) -> str:
    """Return which of our series a metric of somebody else's is; memory where it says nothing."""
    words = set(re.split(r"[^a-z0-9]+", series.lower()))
    if words & {"fds", "fd", "descriptors"}:
        return str(MetricName.DESCRIPTORS)
    if words & {"threads", "goroutines"}:
        return str(MetricName.THREADS)
    return str(MetricName.HEAP if "heap" in words else MetricName.RESIDENT_SET)


def _known(heading: str) -> tuple[str, float]:
    """Return name and factor to bytes of a heading such as ``Real (MB)``; no name if unknown."""
    plain = re.sub(r"[^a-z0-9%/]+", "_", heading.lower()).strip("_")
    if plain in _FIXED:
        return _FIXED[plain]
    if plain in _CANONICAL:
        return _CANONICAL[plain], 1
    stem, _, unit = plain.rpartition("_")
    if unit == "ms" and _CANONICAL.get(stem) == "time":
        return "time", 1e-3
    if unit in _UNITS and _CANONICAL.get(stem, "time") not in _COUNTED:
        return _CANONICAL[stem], _UNITS[unit]
    return "", 1


def _number(value: object, factor: float, place: str) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        sized = size_of(value) if isinstance(value, str) else None
        number = math.nan if sized is None else sized / factor
    if (
        isinstance(value, bool) or not 0 <= number * factor <= thresholds.LARGEST_READING
    ):  # false for NaN as well
        raise MalformedReport(f"{place}: {str(value)[:40]!r}; expected a number from 0 to 2^63")
    return number * factor


def _table(
    rows: Sequence[tuple[int, str]], name: str, asked: Asked = NOTHING_ASKED
) -> tuple[Columns, list[int]]:
    """Read rows by the heading above them; sadf has one heading for each kind of counter."""
    delimiter = next((d for d in ";,\t" if d in rows[0][1]), " ")
    first = ""
    header: list[tuple[str, float]] = []
    columns: Columns = {}
    lines: list[int] = []
    for line, text in rows:
        place = f"{name}: line {line}"
        cells = _cells(text, delimiter, bool(header), place)
        if not header or text[0] == "#" or cells[0] == first:
            header, first = _headings(cells, asked), cells[0]
            columns = columns or {known: [] for known, _ in header if known}
        elif "LINUX-RESTART" not in text:
            _add_row(columns, header, cells, place)
            lines.append(line)
    return columns, lines


_MEMORY_WORDS = {"memory", "mem", "rss", "resident", "working", "heap", "usage"}
"""Words of a heading such as ``container_memory_working_set_bytes{pod="a"}``."""


def _headings(cells: Sequence[str], asked: Asked) -> list[tuple[str, float]]:
    """Return what each column is; nothing when the rows below hold no reading at all."""
    found: list[tuple[str, float]] = []
    for cell in cells:
        known, factor = _heading(cell, asked)
        is_taken = known in {name for name, _ in found}
        found.append(("" if is_taken else known, factor))
    return found if {known for known, _ in found} - {"", "time", "requests"} else []


def _heading(cell: str, asked: Asked) -> tuple[str, float]:
    known, factor = _known(cell)
    if asked.column:
        is_axis = known in ("time", "requests")
        if not is_axis and asked.column.lower() not in cell.lower():
            return "", 1
        known = known or _kind_of(cell)
    elif not known:
        name = cell.split("{")[0]
        words = set(re.split(r"[^a-z0-9]+", name.lower()))
        # Of Prometheus' names the last word is the unit.
        if words & _MEMORY_WORDS and "bytes" in words:
            known = _kind_of(name)
    if asked.unit and _is_memory(known) and factor == 1:
        factor = asked.unit
    return known, factor


def _cells(text: str, delimiter: str, is_row: bool, place: str) -> list[str]:
    text = text.lstrip("# ")
    if delimiter == " ":  # psrecord's headings hold single spaces
        return re.split(r"\s{2,}" if "  " in text and not is_row else r"\s+", text)
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter)) or [""]]
    except csv.Error as error:
        raise MalformedReport(f"{place}: {error}; expected a row of a table") from None


def _add_row(
    columns: Columns, header: Sequence[tuple[str, float]], cells: Sequence[str], place: str
) -> None:
    if len(cells) != len(header):
        raise MalformedReport(f"{place}: {len(cells)} columns; expected {len(header)}")
    for (known, factor), cell in zip(header, cells, strict=True):
        if known and known not in columns:
            raise MalformedReport(f"{place}: {known}; expected the columns of the first heading")
        if known == "time":
            columns[known].append(_seconds(cell, place) * factor)
        elif known:
            is_missing = cell in ("", "-")
            number = None if is_missing else _number(cell, factor, f"{place}: {known}")
            columns[known].append(number)


def _seconds(cell: str, place: str) -> float:
    """Return seconds from a number, a clock time, or sadf's date and time."""
    if clock := _CLOCK.fullmatch(cell):
        hours, minutes, seconds = (float(part) for part in clock.groups()[:3])
        if clock[4]:
            hours = hours % 12 + 12 * (clock[4] == "P")
        return 3600 * hours + 60 * minutes + seconds
    try:
        float(cell)
    except ValueError:
        return _date(cell, place)
    return _number(cell, 1, f"{place}: time")


def _date(cell: str, place: str) -> float:
    try:
        stamp = datetime.fromisoformat(cell.removesuffix(" UTC")).replace(tzinfo=None)
    except ValueError:
        raise MalformedReport(f"{place}: {cell[:40]!r}; expected a time") from None
    return (stamp - datetime(1970, 1, 1)).total_seconds()


def _pidstat(rows: Sequence[tuple[int, str]], name: str) -> tuple[Columns, list[int]]:
    """Add up RSS (kB) over processes; pidstat leaves idle ones out, so their last one counts."""
    header: list[str] = []
    resident: dict[str, float] = {}
    by_stamp: dict[str, tuple[int, float]] = {}
    total = 0.0
    for line, text in rows:
        cells = re.sub(r" ([AP]M)\b", r"\1", text.lstrip("# "), count=1).split()
        if "minflt/s" in cells:
            header = cells
        elif header and cells and cells[0] != "Average:":
            row = dict(zip(header[1:], cells[1:], strict=False))
            if not {"PID", "RSS"} <= row.keys():
                raise MalformedReport(f"{name}: line {line}: expected columns PID and RSS")
            now = _number(row["RSS"], 1024, f"{name}: line {line}: RSS")
            total += now - resident.get(row["PID"], 0)
            resident[row["PID"]] = now
            by_stamp[cells[0]] = (line, total)
    columns: Columns = {MetricName.RESIDENT_SET: [total for _, total in by_stamp.values()]}
    if all(_CLOCK.fullmatch(stamp) or stamp.isdecimal() for stamp in by_stamp):
        columns["time"] = [_seconds(stamp, name) for stamp in by_stamp]
    return columns, [line for line, _ in by_stamp.values()]
