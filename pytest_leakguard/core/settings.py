"""Raw option values to the settings of a run; ``core.options`` declares the options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.options import BASELINE_NAME, OPTIONS, Option

_CI_VARIABLES = ("CI", "BUILD_NUMBER")
# Whether kinds were chosen is told by identity: a choice of just these is still a choice.
GATING = tuple(kind for kind in LeakKind if kind is not LeakKind.STILL_REACHABLE)
_UNITS = {
    "": 1,
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KIB": 1024,
    "MIB": 1024**2,
    "GIB": 1024**3,
}


def size(text: str) -> float:
    """Bytes in ``64``, ``64 B``, ``1.5 KiB`` or ``2MB``.

    Raises ``UsageProblem`` for anything else.
    """
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([A-Za-z]*)\s*", str(text))
    unit = match.group(2).upper() if match else "?"
    if unit in ("K", "M", "G", "KI", "MI", "GI"):
        unit += "B"
    if match is None or unit not in _UNITS:
        raise UsageProblem(
            f"invalid size {str(text)[:80]!r} (expected e.g. 64, 64 B, 1.5 KiB or 2 MiB)"
        )
    return float(match.group(1)) * _UNITS[unit]


def kinds(text: str) -> tuple[LeakKind, ...]:
    """The leak kinds in a comma-separated list; ``all`` is every kind."""
    if text.strip() == "all":
        return tuple(LeakKind)
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageProblem(
            f"no leak kind given, so nothing could fail (choose from all, {', '.join(LeakKind)})"
        )
    for name in names:
        if name not in list(LeakKind):
            raise UsageProblem(
                f"unknown leak kind {name!r} (choose from all, {', '.join(LeakKind)})"
            )
    return tuple(LeakKind(name) for name in names)


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise UsageProblem(f"must be a positive number of seconds (got {text!r})")
    return value


def rate(text: str) -> float:
    """Requests per second, a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e12:
        raise UsageProblem(f"invalid rate {text!r} (expected requests per second, e.g. 40 or 0.5)")
    return value


def flag(text: str) -> bool:
    """``true`` or ``false`` as ini files write it."""
    word = str(text).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise UsageProblem(f"must be true or false (got {text!r})")


READERS: Mapping[str, Callable[[str], Any]] = {
    "text": str,
    "flag": flag,
    "size": size,
    "kinds": kinds,
    "seconds": seconds,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one run, or of one test with its marker applied."""

    scope: str = "all"
    tool: str = "auto"
    baseline: Path = Path(BASELINE_NAME)
    accept: str | None = None
    prune: bool = False
    report: Path | None = None
    budget_bytes: float = 0.0
    native: str = "auto"
    """Whether tests' native memory is tracked: ``auto`` or ``off``."""
    missing_tool: str = "skip"
    is_strict: bool = False
    kinds: tuple[LeakKind, ...] = GATING
    timeout_s: float = 300.0
    errors: str = "fail"
    """What memory errors in a tool's report do: ``fail`` or ``report``."""
    confirm_s: float = 10.0
    """Seconds that one suspect may take for its verdict."""
    root: Path = Path()


def is_ci(environ: Mapping[str, str]) -> bool:
    """Whether a build system runs this.

    Nearly all of them set ``CI``, Jenkins sets ``BUILD_NUMBER``. There the baseline
    is not written, and a missing tool fails the run.
    """
    return any(environ.get(name) for name in _CI_VARIABLES)


def resolve(given: Mapping[str, Any], root: Path, environ: Mapping[str, str]) -> Settings:
    """Settings from raw values by option name; an option that is not given is absent or ``None``.

    Raises ``UsageProblem``.
    """
    values = {option.name: value_of(option, given.get(option.name)) for option in OPTIONS}
    runs_in_ci = is_ci(environ)
    for name in ("accept", "prune"):
        if values[name] and runs_in_ci:
            raise UsageProblem(
                f"--leakguard-{name} writes the baseline, which CI must not do; run it on your "
                "machine and commit the file"
            )
    if values["accept"] is not None and not values["accept"].strip():
        raise UsageProblem("--leakguard-accept needs a reason: why may these leaks stay?")
    defaults = Settings()
    return Settings(
        scope=values["scope"] or defaults.scope,
        tool=values["tool"] or defaults.tool,
        baseline=root / (values["baseline"] or BASELINE_NAME),
        accept=values["accept"],
        prune=bool(values["prune"]),
        report=root / values["report"] if values["report"] else None,
        budget_bytes=values["budget"] or 0.0,
        native=values["native"] or defaults.native,
        missing_tool=values["missing-tool"] or ("fail" if runs_in_ci else "skip"),
        is_strict=bool(values["strict"]),
        kinds=values["kinds"] if values["kinds"] is not None else GATING,
        timeout_s=values["timeout"] or defaults.timeout_s,
        errors=values["errors"] or defaults.errors,
        confirm_s=values["confirm"] or defaults.confirm_s,
        root=root,
    )


def _text(raw: Any, option: Option) -> str:
    """A value from a marker, a caller or a TOML file, as it would stand on the command line."""
    if isinstance(raw, bool) and "off" in option.choices:
        return option.choices[0] if raw else "off"
    if isinstance(raw, list | tuple):
        return ",".join(map(str, raw))
    return f"{raw:.6f}" if isinstance(raw, float) else str(raw)


def value_of(option: Option, raw: Any) -> Any:
    """The value of one option from what was given; ``None`` for nothing.

    Raises ``UsageProblem``.
    """
    if raw is None:
        return None
    try:
        if option.is_flag and isinstance(raw, bool):
            value: Any = raw
        else:
            value = READERS[option.kind](_text(raw, option))
    except UsageProblem as problem:
        raise UsageProblem(f"{option.flag}: {problem}") from None
    if option.choices and value not in option.choices:
        raise UsageProblem(
            f"{option.flag}: invalid choice: {value!r} (choose from {', '.join(option.choices)})"
        )
    return value
