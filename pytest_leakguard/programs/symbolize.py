"""Gives names to calls a sanitizer could not name: code of closed libraries, runs without a symbolizer."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.programs import Report
from pytest_leakguard.processes import supervisor

MOST_ADDRESSES = 400
"""Per call of addr2line, so that the command line stays short."""
_MAPPED = re.compile(rb"base: 0x([0-9a-f]+)\s+size: 0x([0-9a-f]+)")
_LOADING = re.compile(rb"file=(.+) \[\d+\];  generating link map")


@dataclass(frozen=True, slots=True)
class Mapping:
    """Where a shared object was loaded, also when it is gone by now."""

    path: str
    base: int
    size_bytes: int


def read_link_map(log: Path) -> tuple[Mapping, ...]:
    """The objects in one log of the dynamic loader (``LD_DEBUG=files``, see ld.so(8)); damaged lines are skipped."""
    found, name = [], b""
    with log.open("rb") as stream:
        for line in stream:
            if loading := _LOADING.search(line):
                name = loading.group(1)
            elif (mapped := _MAPPED.search(line)) and name:
                path = name.decode("utf-8", "backslashreplace")
                found.append(Mapping(path, int(mapped.group(1), 16), int(mapped.group(2), 16)))
                name = b""
    return tuple(found)


def resolve(report: Report, mappings: Iterable[Mapping], cwd: Path | None) -> Report:
    """``report`` with as many calls named as the loader's log and addr2line allow; unchanged without them."""
    known = tuple(mappings)
    frames = {frame for leak in report.leaks for frame in leak.stack if frame.function is None}
    if not frames:
        return report
    placed = {frame: _placed(frame, known) for frame in frames}
    named = (
        {frame: _named.get(place, place) for frame, place in placed.items()}
        if (_named := _ask(set(placed.values()), cwd or Path()))
        else placed
    )
    return replace(
        report,
        leaks=tuple(
            replace(leak, stack=tuple(named.get(frame, frame) for frame in leak.stack))
            for leak in report.leaks
        ),
    )


def _placed(frame: Frame, mappings: tuple[Mapping, ...]) -> Frame:
    if frame.module is not None:
        return frame
    for mapping in reversed(
        mappings
    ):  # the last one loaded at an address is the one that ran there
        if 0 <= frame.address - mapping.base < mapping.size_bytes:
            return replace(frame, module=mapping.path, offset=frame.address - mapping.base)
    return frame


def _ask(frames: set[Frame], cwd: Path) -> dict[Frame, Frame]:
    tool = shutil.which("addr2line")
    if tool is None:
        return {}
    by_module: dict[str, list[Frame]] = {}
    for frame in frames:
        if frame.module is not None and frame.offset is not None and (cwd / frame.module).is_file():
            by_module.setdefault(frame.module, []).append(frame)
    named: dict[Frame, Frame] = {}
    for module, inside in by_module.items():
        for start in range(0, len(inside), MOST_ADDRESSES):
            named |= _ask_module(tool, str(cwd / module), inside[start : start + MOST_ADDRESSES])
    return named


def _ask_module(tool: str, path: str, frames: list[Frame]) -> dict[Frame, Frame]:
    code, out, _ = supervisor.capture(
        [tool, "-f", "-C", "-e", path, *(hex(frame.offset or 0) for frame in frames)], 30.0
    )
    lines = out.decode("utf-8", "backslashreplace").splitlines()
    if code != 0 or len(lines) != 2 * len(frames):
        return {}
    return {
        frame: _with_name(frame, *lines[2 * index : 2 * index + 2])
        for index, frame in enumerate(frames)
    }


def _with_name(frame: Frame, function: str, place: str) -> Frame:
    file, _, line = place.partition(" (discriminator")[0].rpartition(":")
    return replace(
        frame,
        function=None if function == "??" else function,
        file=None if file in ("", "??") else file,
        line=int(line) if line.isdecimal() and line != "0" else None,
    )
