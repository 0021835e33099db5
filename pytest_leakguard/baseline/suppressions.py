"""Suppression files of valgrind and LeakSanitizer to rules of ``ignore``, and baselines to both.

Grammar: valgrind's manual, "Suppressing errors"; LSan's wiki, "Suppressions" (``leak:PATTERN`` is a
part of a function's, a file's or a module's name, ``^`` and ``$`` its ends).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pytest_leakguard.baseline.compare import AcceptedLeak
from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.fingerprint import short_name

_KINDS = {
    "definite": "definitely_lost",
    "indirect": "indirectly_lost",
    "possible": "possibly_lost",
    "reachable": "still_reachable",
}
_FOR_VALGRIND = {name: word for word, name in _KINDS.items()}
_CALL = re.compile(r"^(.*?)(?: \(([^()]*)\))?$")


def rules(text: str, name: str) -> Iterator[dict[str, object]]:
    """Entries of ``ignore`` for what a suppression file names.

    Raises ``MalformedReport`` for what is no such file.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if "{" in lines:
        yield from _of_valgrind(lines, name)
        return
    for line in lines:
        kind, _, pattern = line.partition(":")
        if kind != "leak" or not pattern:
            raise MalformedReport(f"{name}: {line[:60]!r} is no suppression of valgrind or LSan")
        yield {"pattern": f"any:{_anchored(pattern)}", "reason": f"from {name}"}


def _anchored(pattern: str) -> str:
    begin = "" if pattern.startswith("^") else "*"
    end = "" if pattern.endswith("$") else "*"
    inner = pattern.removeprefix("^").removesuffix("$")
    return re.sub(r"\*+", "*", f"{begin}{inner}{end}")


def _of_valgrind(lines: list[str], name: str) -> Iterator[dict[str, object]]:
    entry: list[str] = []
    is_open = False
    for line in lines:
        if line == "{":
            entry, is_open = [], True
        elif line == "}":
            is_open = False
            yield from _entry(entry, name)
        elif is_open:
            entry.append(line)
    if is_open:
        raise MalformedReport(f"{name}: the last suppression has no closing brace")


def _entry(lines: list[str], name: str) -> Iterator[dict[str, object]]:
    """One block; those of other tools and other errors suppress no leaks."""
    if len(lines) < 2 or not lines[1].startswith("Memcheck:Leak"):
        return
    calls = []
    for line in lines[2:]:
        if line.startswith("match-leak-kinds:"):
            continue
        kind, _, pattern = line.partition(":")
        if line == "...":
            calls.append(line)
        elif kind == "obj":
            calls.append(f"module:{pattern}")
        elif kind == "fun":
            calls.append(f"fun:{pattern}")
        elif kind == "src":
            calls.append(f"file:{pattern.rpartition(':')[0] or pattern}")
    if [call for call in calls if call.partition(":")[2].strip("*? ")]:
        yield {
            "stack": [call if call == "..." or _is_narrow(call) else "..." for call in calls],
            "reason": f"{lines[0]} (from {name})",
        }


def _is_narrow(call: str) -> bool:
    """Whether a pattern says anything; one of stars alone is any call."""
    return bool(call.partition(":")[2].strip("*? "))


def as_valgrind(leaks: Iterable[AcceptedLeak]) -> Iterator[str]:
    """A suppression file for valgrind; leaks without a stack are left out."""
    for leak in leaks:
        calls = [call for call in map(_valgrind_call, leak.stack) if call]
        if not calls:
            continue
        yield f"# {_one_line(leak.reason)}\n{{\n   leakguard-{leak.fingerprint}\n   Memcheck:Leak\n"
        if word := _FOR_VALGRIND.get(leak.kind):
            yield f"   match-leak-kinds: {word}\n"
        for call in calls:
            # Allocators, inlined calls and those of runtimes stand between ours.
            yield f"   ...\n   {call}\n"
        yield "}\n"


def _valgrind_call(call: str) -> str:
    match = _CALL.match(call)
    function, place = (match.group(1), match.group(2) or "") if match else (call, "")
    if function == "???":
        return f"obj:*{place}*" if place else ""
    if "::" in function or "(" in function or "<" in function:
        name = short_name(function)
        # The symbol holds the length of a name before it: Itanium C++ ABI, "source-name".
        return f"fun:*{len(name)}{name}*" if name.isidentifier() else "fun:*"
    return f"fun:{function}"


def as_lsan(leaks: Iterable[AcceptedLeak]) -> Iterator[str]:
    """A suppression file for LeakSanitizer, which knows one name per leak: the innermost."""
    for leak in leaks:
        for call in leak.stack:
            match = _CALL.match(call)
            function, place = (match.group(1), match.group(2) or "") if match else (call, "")
            name = place if function == "???" else function
            if name:
                yield f"# {_one_line(leak.reason)}\nleak:{short_name(name)}\n"
                break


def _one_line(text: str) -> str:
    return " ".join(text.split())
