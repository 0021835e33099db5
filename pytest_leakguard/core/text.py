"""How values read in every report: sizes, places, and text of a target made harmless."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from pytest_leakguard.core.fingerprint import (
    LONGEST_NAME,
    MOST_NAMES,
    innermost_own,
    is_c_library,
    is_runtime,
    own_calls,
    public_name,
    without_types,
)
from pytest_leakguard.core.leaks import Finding, Frame, LeakKind

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


_SECRET_NAME = (
    r"(?:[\w.-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|credentials?)[\w.-]*|(?:[\w.-]*[._-])?auth)"
)
_ASSIGNED = re.compile(rf"^((?:-{{1,2}}|/)?{_SECRET_NAME}[=:])(.+)$", re.IGNORECASE | re.DOTALL)
_FLAG = re.compile(rf"^-{{1,2}}{_SECRET_NAME}$", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://[^/\s:@]*:)[^/\s@]+(@)", re.IGNORECASE)
_HEADER = re.compile(
    r"((?:authorization|x-api-key|cookie)\s*:\s*(?:(?:bearer|basic|token)\s+)?)\S.*$", re.IGNORECASE
)
_TOKEN = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}|xox[abps]-[\w-]{10,}"
    r"|AKIA[0-9A-Z]{16}|sk-[\w-]{20,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,})"
)
MASK = "***"
"""Stands for what looks like a secret."""


def without_secrets(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command line whose secrets are masked, as far as they look like one; the rest is kept.

    Values of options that are named like one, passwords in addresses, headers that authorise, and
    tokens of well-known services.
    """
    shown: list[str] = []
    is_value = False
    for argument in arguments:
        if is_value and not argument.startswith("-"):
            shown.append(MASK)
            is_value = False
            continue
        is_value = _FLAG.match(argument) is not None
        text = _ASSIGNED.sub(rf"\g<1>{MASK}", argument)
        text = _IN_ADDRESS.sub(rf"\g<1>{MASK}\g<2>", text)
        text = _HEADER.sub(rf"\g<1>{MASK}", text)
        shown.append(_TOKEN.sub(MASK, text))
    return tuple(shown)


def command_without_secrets(command: str) -> str:
    """The same for a command line whose arguments are not told apart any more."""
    return " ".join(without_secrets(command.split(" ")))


def printable(text: str) -> str:
    """``text`` without anything a terminal, a log viewer or a parser could obey.

    Such characters are shown as ``\\xNN``.
    """
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def one_line(text: str) -> str:
    """``printable`` with line breaks and tabs as spaces."""
    return printable(re.sub(r"\s*[\r\n\t]+\s*", " ", text)).strip()


def indented(text: str) -> str:
    """``one_line`` that keeps the spaces at the start."""
    spaces = len(text) - len(text.lstrip(" "))
    return " " * spaces + one_line(text)


def shortened(text: str, most: int) -> str:
    """At most ``most`` characters of ``text``, with a sign where something is left out."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def kind(value: LeakKind) -> str:
    """``definitely lost``."""
    return value.replace("_", " ")


def amount(size_bytes: int, blocks: int) -> str:
    """``1,280 bytes in 20 blocks``."""
    blocks_text = f"{blocks:,} block{'' if blocks == 1 else 's'}"
    return f"{size_bytes:,} byte{'' if size_bytes == 1 else 's'} in {blocks_text}"


_EXACT_BELOW = 10_000
"""Bytes told to the last one; of more, three digits are what people read."""


def size(size_bytes: float) -> str:
    """``384 B``, ``1,280 B``, ``1.96 MiB``; with three digits where it is large."""
    if abs(size_bytes) < _EXACT_BELOW:
        whole = size_bytes == int(size_bytes)
        return f"{size_bytes:,.0f} B" if whole else f"{size_bytes:,.3g} B"
    return quantity(size_bytes)


def counted(number: int, name: str) -> str:
    """``1 leak``, ``1,200 leaks``, ``2 processes``."""
    plural = "es" if name.endswith("s") else "s"
    return f"{number:,} {name}{'' if number == 1 else plural}"


def singular(unit: str) -> str:
    """``descriptor`` of ``descriptors``, ``process`` of ``processes``."""
    return unit.removesuffix("es") if unit.endswith("sses") else unit.removesuffix("s")


def place(frame: Frame, root: Path | None = None) -> str:
    """``push (src/server.c:42)``, or the module where there is no source."""
    address = frame.address if frame.offset is None else frame.offset
    name = one_line(frame.function or f"0x{address:x}")
    if frame.file:
        where = one_line(relative(frame.file, root))
        if frame.line:
            where += f":{frame.line}"
    else:
        where = one_line((frame.module or "").rpartition("/")[2])
    return f"{name} ({where})" if where else name


_STANDARD = re.compile(r"\bstd::__(?:cxx11|1|2|ndk1)::")
"""Namespaces that the C++ libraries put their names into for the linker's sake."""
_BY_DEFAULT = re.compile(
    r", ?(?:(?:struct|class) )?std::(?:allocator|char_traits|less|equal_to|hash|default_delete)<"
)
"""Template arguments that nobody writes."""
_BASIC = re.compile(r"\bstd::basic_(\w+)<(char|wchar_t)>")


def readable_name(function: str) -> str:
    """The name of a function as its author would write it, without return type and parameters.

    ``std::string`` instead of ``std::__cxx11::basic_string<char, …>``.
    """
    name = without_defaults(function[:LONGEST_NAME])
    return name if "operator" in name else without_types(name)


def without_defaults(name: str) -> str:
    """A C++ name without the template arguments that the library adds."""
    if "std::" not in name:
        return name
    name = _STANDARD.sub("std::", name)
    while match := _BY_DEFAULT.search(name):
        end = _end_of_template(name, match.end())
        name = name[: match.start()] + name[end:].lstrip(" ")
    name = _BASIC.sub(lambda match: f"std::{'w' * (match[2] != 'char')}{match[1]}", name)
    return name.replace("> >", ">>")


def _end_of_template(name: str, start: int) -> int:
    """Behind the ``>`` that closes what was opened just before ``start``."""
    depth = 1
    for index in range(start, len(name)):
        depth += (name[index] == "<") - (name[index] == ">")
        if depth == 0:
            return index + 1
    return len(name)


_INSTALLED = re.compile(
    r"^.*/(?:site-packages|dist-packages|lib(?:64)?/python3\.\d+|\.cargo/registry/src/[^/]+)/"
)


def short_path(file: str, root: Path | None) -> str:
    """``file`` from the project on, or from the package on: ``flask/app.py``."""
    if installed := _INSTALLED.match(file):
        return file[installed.end() :]
    return relative(file, root)


def relative(file: str, root: Path | None) -> str:
    """``file`` as seen from ``root`` when it is inside; as it is otherwise."""
    if root is not None and file.startswith(f"{root}/"):
        return file[len(f"{root}/") :]
    return file


def site(finding: Finding, root: Path | None = None) -> str:
    """Where a reader should look first."""
    frame = innermost_own(finding.stack)
    return place(frame, root) if frame else "no stack was recorded"


def accepted_stack(finding: Finding) -> tuple[str, ...]:
    """The stack as a baseline keeps it: functions and base names.

    It has no lines, addresses or directories, which change from build to build.
    """
    return tuple(_accepted_call(frame) for frame in own_calls(finding.stack)[:MOST_NAMES])


def _accepted_call(frame: Frame) -> str:
    where = (frame.file or frame.module or "").rpartition("/")[2]
    in_library = is_c_library(frame) or is_runtime(frame)
    name = frame.function or "???"
    if in_library:
        name = public_name(name)
    if where and not is_runtime(frame):
        name += f" ({where})"
    return one_line(name)


def plural(name: str, number: float = 2) -> str:
    """``requests``, ``runs of the command``; as it is where there is one."""
    first, space, rest = name.partition(" ")
    return name if number == 1 else f"{first}s{space}{rest}"


def quantity(value: float, unit: str = "bytes") -> str:
    """``10.3 KiB``, ``64 bytes``, ``0.012 descriptors``; three digits."""
    if unit != "bytes":
        number = f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        return f"{number} {singular(unit) if number == '1' else unit}"
    if 10 <= abs(value) < 1024:
        return f"{value:.0f} bytes"
    size, names = float(value), iter(("KiB", "MiB", "GiB", "TiB"))
    name = "bytes"
    while abs(size) >= 1024 and name != "TiB":
        size, name = size / 1024, next(names)
    return f"{_three(size)} {name}"


def _three(value: float) -> str:
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """Two digits and the unit one would say it in."""
    for name, size in (("years", 31_557_600), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{two_digits(seconds / size)} {name}"
    return f"{two_digits(seconds)} seconds"


def two_digits(value: float) -> str:
    """``value`` with two significant digits, and thousands apart."""
    if value == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def ordinal(number: int) -> str:
    """``2nd``, ``10th``."""
    last = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{'th' if number % 100 in (11, 12, 13) else last}"
