"""What the heap of a Node service gains: who holds it by snapshots, who allocates it by samples.

V8 knows in which function an object was allocated, not on which line of it. The line is that on
which the function puts something into what holds the leak.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.explain.in_service import PACE, WINDOWS
from pytest_leakguard.processes import supervisor
from pytest_leakguard.services.causes import Explanation, of_process

_ANALYSIS = Path(__file__).parent.parent / "agents" / "node" / "heap_growth.js"
_AGENT = Path(__file__).parent.parent / "agents" / "node" / "agent.js"
_ANALYSIS_S = 120.0
"""Upper limit of the time that comparing the snapshots takes, in seconds; those of a heap of a
gigabyte take about one minute."""
_MOST_NAMES = 6
"""Upper limit of the names in the path to what holds a leak; the ones nearest to it are told."""
_MOST_LINES = 400
"""Upper limit of the lines of a function in which its end is looked for."""
_INTO = (
    r"\b{name}\b[\w$.\[\]'\"]*\s*"
    r"(\.\s*(push|unshift|set|add|append|insert|splice|on|once|addListener|addEventListener"
    r"|prependListener|subscribe)\s*\(|\[[^\]]*\]\s*=[^=])"
)
"""Puts something into what has that name."""
_OWN_HANDLES = "Node's own handles"
"""What is open or runs is kept by Node itself until it is closed or has ended."""
_PRIVATE = ("_events", "table", "elements", "properties")
"""Parts of a path that no source code names."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of the service's own code, as V8 has it."""

    function: str
    file: str
    line: int
    """Of the function's beginning."""


def explanations(answer: Mapping[str, Any], pid: int, requests: int) -> Iterator[Explanation]:
    """Return what each of the last two windows of so many requests has left, most first."""
    snapshots = [str(path) for path in answer["snapshots"]]
    try:
        groups = _compare(pid, snapshots)
    finally:
        for path in snapshots:  # what users have sent may be in there
            with suppress(OSError):
                Path(path).unlink()
    stacks = [_own_calls(one["stack"]) for one in answer["allocations"]]
    for group in groups:
        yield _explanation(group, [stack for stack in stacks if stack], pid, requests)


def opened(answer: Mapping[str, Any], pid: int, requests: int) -> Iterator[Explanation]:
    """Return what the service's lines have opened in all windows of so many requests."""
    for one in answer.get("opened", ()):
        calls = _own_calls(one["stack"])
        if not calls:
            continue
        frames = _frames(calls, calls[0].line)
        text = _text_of(frames[0])
        yield Explanation(
            stack=frames,
            names=tuple(f"{Path(call.file).name}:{call.function}" for call in calls[:1]),
            details=(f"line: {text}",) if text else (),
            entries_per_request=int(one["count"]) / (WINDOWS * requests),
            processes=(of_process(pid),),
            kind=str(one["kind"]),
            path=str(one["path"]),
        )


def _compare(pid: int, snapshots: list[str]) -> list[dict[str, Any]]:
    """What Node itself makes of the snapshots; nothing where it cannot."""
    command = [f"/proc/{pid}/exe", str(_ANALYSIS), *snapshots]
    try:
        code, out, _ = supervisor.capture(command, _ANALYSIS_S)
    except LeakguardError:
        return []
    groups = json.loads(out) if code == 0 else []
    return groups if isinstance(groups, list) else []


def _file_of(url: str) -> str:
    return unquote(urlsplit(url).path) if url.startswith("file:") else url


def _own_calls(stack: list[list[Any]]) -> list[_Call]:
    """The service's own calls, innermost first; those of packages where it has none."""
    calls = []
    for function, url, line in stack:
        file = _file_of(url)
        if file.startswith("/") and file != str(_AGENT):
            calls.append(_Call(function or "(anonymous)", file, int(line)))
    return [call for call in calls if "/node_modules/" not in call.file] or calls


def _explanation(
    group: Mapping[str, Any], stacks: list[list[_Call]], pid: int, requests: int
) -> Explanation:
    names, file = _path(group["path"])
    holder = _OWN_HANDLES if group["holder"] == "synthetic" else str(group["holder"])
    stack = _site(names, group, stacks)
    own = stack[0] if stack else None
    file = file or (own.file if own and own.file else "")
    root = file if file.startswith("node:") else Path(file).name
    root = "" if holder is _OWN_HANDLES else root
    way = ".".join(names).replace(".[", "[") or holder
    held = f"{way} ({PACE if way is holder else f'{holder}, {PACE}'}) -> {group['kind']}"
    text = _text_of(own) if own else ""
    return Explanation(
        stack=stack,
        names=tuple(f"{Path(call.file or '').name}:{call.function}" for call in stack[:1]),
        holders=(f"{root}: {way}" if root else way, holder, str(group["kind"])),
        held_by=f"{root}: {held}" if root else held,
        details=(f"line: {text}",) if text else (),
        bytes_per_request=group["bytes"] / requests,
        entries_per_request=group["entries"] / requests,
        processes=(of_process(pid),),
    )


def _path(steps: list[Mapping[str, Any]]) -> tuple[list[str], str]:
    """The names by which the program knows it, outermost first, and the file that has the first."""
    names: list[str] = []
    for at, step in enumerate(steps):
        if step["by"] == "context":
            names.append(step["edge"])
            file = next((one["file"] for one in steps[at:] if one["file"]), "")
            return _shortened(names), file
        if step["by"] == "property":
            names.append(step["edge"])
        elif step["by"] == "element" and step["type"] != "synthetic":
            names.append(f"[{step['edge']}]")
    return _shortened(names), ""


def _shortened(names: list[str]) -> list[str]:
    return list(reversed(names[:_MOST_NAMES]))


def _site(
    names: list[str], group: Mapping[str, Any], stacks: list[list[_Call]]
) -> tuple[Frame, ...]:
    """The calls that fill what holds it, with the line; or else those that allocate most."""
    known = [name for name in reversed(names) if name not in _PRIVATE and name[0] != "["]
    for name in known:
        for stack in stacks:
            for at, call in enumerate(stack):
                line = _line_into(call, name)
                if line:
                    return _frames(stack[at:], line)
    made = Frame(str(group["kind"]), _file_of(str(group["file"])), int(group["line"]))
    for stack in stacks if made.line else ():
        for at, call in enumerate(stack):
            if call.file == made.file and _has_line(call, made.line or 0):
                return _frames(stack[at:], made.line or 0)
    if stacks:
        return _frames(stacks[0], stacks[0][0].line)
    return (made,) if made.line else ()


def _has_line(call: _Call, line: int) -> bool:
    return any(number == line for number, _ in _lines_of(call))


def _frames(stack: list[_Call], line: int) -> tuple[Frame, ...]:
    first = Frame(stack[0].function, stack[0].file, line)
    return (first, *(Frame(call.function, call.file, call.line) for call in stack[1:]))


def _line_into(call: _Call, name: str) -> int:
    """Return the line on which the function puts something into ``name``; 0 where none does."""
    pattern = re.compile(_INTO.format(name=re.escape(name)))
    for number, text in _lines_of(call):
        if pattern.search(text):
            return number
    return 0


def _lines_of(call: _Call) -> Iterator[tuple[int, str]]:
    """The lines of a function, by its braces."""
    depth, has_begun = 0, False
    lines = _source(call.file)[call.line - 1 : call.line - 1 + _MOST_LINES]
    for number, text in enumerate(lines, call.line):
        yield number, text
        depth += text.count("{") - text.count("}")
        has_begun |= "{" in text
        if has_begun and depth <= 0:
            return


def _source(file: str) -> list[str]:
    try:
        return Path(file).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _text_of(frame: Frame) -> str:
    lines = _source(os.fspath(frame.file or ""))
    number = frame.line or 0
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""
