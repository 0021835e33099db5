"""Gives names to calls that a tool could not name.

Those are calls into closed libraries, and all calls where there is no symbolizer.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_leakguard.core.fingerprint import is_c_library, is_runtime, last_name, short_name
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.programs import Report
from pytest_leakguard.processes import supervisor
from pytest_leakguard.programs.elf_symbols import Symbols, read_symbols

MOST_ADDRESSES = 400
"""Addresses per call of addr2line, so that the command line stays short (about 8 kB)."""
_TIMEOUT_S = 30.0
"""Seconds one call of addr2line may take; large debug information takes it several."""
_MAPPED = re.compile(rb"base: 0x([0-9a-f]+)\s+size: 0x([0-9a-f]+)")
_ADDRESS_LINE = re.compile(r"^0x[0-9a-f]+$", re.MULTILINE)
"""Of addr2line, before what is at the address."""
_LOADING = re.compile(rb"file=(.+) \[\d+\];  generating link map")


@dataclass(frozen=True, slots=True)
class Mapping:
    """Where a shared object was loaded, also when it is gone by now."""

    path: str
    base: int
    size_bytes: int


def read_link_map(log: Path) -> tuple[Mapping, ...]:
    """The objects in one log of the dynamic loader; damaged lines are skipped.

    It is written with ``LD_DEBUG=files``, see ld.so(8), or by our own library in such words.
    """
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
    """``report`` with as many calls named as the loader's log and addr2line allow."""
    mapped = tuple(mappings)
    frames = {frame for leak in report.leaks for frame in leak.stack if frame.function is None}
    if not frames:
        return report
    placed = {frame: _placed(frame, mapped) for frame in frames}
    named = _ask(set(placed.values()), cwd or Path())
    leaks = []
    for leak in report.leaks:
        stack = [placed.get(frame, frame) for frame in leak.stack]
        leaks.append(replace(leak, stack=tuple(named.get(frame, frame) for frame in stack)))
    return replace(report, leaks=tuple(leaks))


def named(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The same calls with function, file and line as far as addr2line tells.

    Those that it does not know are unchanged.
    """
    found = _ask(set(frames), Path())
    told = []
    for frame in frames:
        by_debug_information = found.get(frame, frame)
        told.append(by_debug_information if by_debug_information.function else frame)
    return tuple(told)


def unfolded(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The same calls as ``named`` gives, with those that were inlined into each, innermost first.

    What has no line has the name of the symbol table around it: addr2line takes the nearest one,
    which in a stripped library is mostly another function's.
    """
    known: dict[Frame, tuple[Frame, ...]] = {}
    addr2line = shutil.which("addr2line")
    for path, inside in _by_module(set(frames), Path()).items():
        for start in range(0, len(inside), MOST_ADDRESSES):
            part = inside[start : start + MOST_ADDRESSES]
            known |= _ask_inlined(addr2line, path, part) if addr2line else {}
    told: list[Frame] = []
    for frame in frames:
        told += known.get(frame, (frame,))
    return _with_symbols(tuple(told))


def _ask_inlined(addr2line: str, path: str, frames: list[Frame]) -> dict[Frame, tuple[Frame, ...]]:
    addresses = [hex(frame.offset or 0) for frame in frames]
    argv = [addr2line, "-a", "-i", "-f", "-C", "-e", path, *addresses]
    code, out, _ = supervisor.capture(argv, _TIMEOUT_S)
    parts = _ADDRESS_LINE.split(out.decode("utf-8", "backslashreplace"))[1:]
    if code != 0 or len(parts) != len(frames):
        return {}
    unfolded: dict[Frame, tuple[Frame, ...]] = {}
    for frame, part in zip(frames, parts, strict=True):
        lines = part.strip().splitlines()
        pairs = list(zip(lines[::2], lines[1::2], strict=False))
        calls = [_with_name(frame, function, place) for function, place in pairs]
        inlined = [replace(call, is_inlined=True) for call in calls[:-1]]
        if calls and calls[0].function:
            unfolded[frame] = (*inlined, calls[-1])
    return unfolded


def _with_symbols(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Those without a name by the symbol table: that of a stripped library has what it exports."""
    by_module: dict[str, Symbols] = {}
    mangled: dict[Frame, str] = {}
    for frame in frames:
        if frame.file is None and frame.module is not None and frame.offset is not None:
            if frame.module not in by_module:
                by_module[frame.module] = read_symbols(Path(frame.module))
            symbols = by_module[frame.module]
            if symbols.starts:
                mangled[frame] = symbols.at(frame.offset)
    names = {name for name in mangled.values() if name}
    plain = demangled({name for name in names if name.startswith("_")})
    told = []
    for frame in frames:
        name = mangled.get(frame, frame.function or "")
        told.append(replace(frame, function=plain.get(name, name) or None))
    return tuple(told)


def qualify(report: Report, cwd: Path | None) -> Report:
    """``report`` with the full names of C++ functions that debug information names in short.

    A name is replaced only by one that ends with it.
    """
    by_module: dict[str, set[Frame]] = {}
    for leak in report.leaks:
        for frame in leak.stack:
            if _may_be_short(frame) and frame.module:
                by_module.setdefault(frame.module, set()).add(frame)
    mangled: dict[Frame, str] = {}
    for module, frames in by_module.items():
        symbols = read_symbols((cwd or Path()) / module)
        for frame in frames:
            # A return address may be the first one behind the function.
            name = symbols.at(max(0, (frame.offset or 0) - 1))
            if name.startswith("_Z"):
                mangled[frame] = name
    full = demangled(set(mangled.values()))
    named: dict[Frame, Frame] = {}
    for frame, name in mangled.items():
        whole = full.get(name, "")
        if _ends_with(whole, frame.function or ""):
            named[frame] = replace(frame, function=whole)
    leaks = []
    for leak in report.leaks:
        leaks.append(replace(leak, stack=tuple(named.get(frame, frame) for frame in leak.stack)))
    return replace(report, leaks=tuple(leaks))


def _ends_with(whole: str, function: str) -> bool:
    if function.startswith("operator"):
        return last_name(whole).startswith(function.replace(" ", ""))
    return short_name(whole) == short_name(function)


def _may_be_short(frame: Frame) -> bool:
    """Whether the symbol table may know more: no parameters, so no linkage name was there.

    Of an inlined call it knows nothing.
    """
    if not frame.function or frame.is_inlined or frame.offset is None:
        return False
    is_full = frame.function.endswith((")", " const"))
    is_operator = frame.function == "operator()"
    return (is_operator or not is_full) and not is_c_library(frame) and not is_runtime(frame)


def demangled(names: set[str]) -> dict[str, str]:
    """What each mangled name means; empty where there is no c++filt."""
    filter_program = shutil.which("c++filt")
    if filter_program is None:
        return {}
    found: dict[str, str] = {}
    mangled = sorted(names)
    for start in range(0, len(mangled), MOST_ADDRESSES):
        part = mangled[start : start + MOST_ADDRESSES]
        code, out, _ = supervisor.capture([filter_program, "--", *part], _TIMEOUT_S)
        lines = out.decode("utf-8", "backslashreplace").splitlines()
        if code == 0 and len(lines) == len(part):
            found |= dict(zip(part, lines, strict=True))
    return found


def _placed(frame: Frame, mappings: tuple[Mapping, ...]) -> Frame:
    """``frame`` with its module, where one was mapped at its address."""
    if frame.module is not None:
        return frame
    for mapping in reversed(mappings):  # the last loaded at an address is the one that ran there
        if 0 <= frame.address - mapping.base < mapping.size_bytes:
            return replace(frame, module=mapping.path, offset=frame.address - mapping.base)
    return frame


def _ask(frames: set[Frame], cwd: Path) -> dict[Frame, Frame]:
    """The frames that addr2line can name, each with its named one."""
    addr2line = shutil.which("addr2line")
    if addr2line is None:
        return {}
    named: dict[Frame, Frame] = {}
    for path, inside in _by_module(frames, cwd).items():
        for start in range(0, len(inside), MOST_ADDRESSES):
            part = inside[start : start + MOST_ADDRESSES]
            named |= _ask_module(addr2line, path, part)
    return named


def _by_module(frames: set[Frame], cwd: Path) -> dict[str, list[Frame]]:
    """Those that lie in a file that is there, by its path."""
    by_module: dict[str, list[Frame]] = {}
    for frame in frames:
        if frame.module is not None and frame.offset is not None and (cwd / frame.module).is_file():
            by_module.setdefault(str(cwd / frame.module), []).append(frame)
    return by_module


def _ask_module(addr2line: str, path: str, frames: list[Frame]) -> dict[Frame, Frame]:
    addresses = [hex(frame.offset or 0) for frame in frames]
    argv = [addr2line, "-f", "-C", "-e", path, *addresses]
    code, out, _ = supervisor.capture(argv, _TIMEOUT_S)
    lines = out.decode("utf-8", "backslashreplace").splitlines()
    if code != 0 or len(lines) != 2 * len(frames):
        return {}
    functions, places = lines[::2], lines[1::2]
    named: dict[Frame, Frame] = {}
    for frame, function, place in zip(frames, functions, places, strict=True):
        named[frame] = _with_name(frame, function, place)
    return named


def _with_name(frame: Frame, function: str, place: str) -> Frame:
    file, _, line = place.partition(" (discriminator")[0].rpartition(":")
    return replace(
        frame,
        function=None if function == "??" else function,
        file=None if file in ("", "??") else file,
        line=int(line) if line.isdecimal() and line != "0" else None,
    )
