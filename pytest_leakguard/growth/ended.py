"""Tells where in a recording the process was gone: what is 0 from there on was not measured."""

from __future__ import annotations

from dataclasses import replace

from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.growth.recordings import Cell, Recording

_NEVER_ZERO = frozenset(
    {
        MetricName.RESIDENT_SET,
        MetricName.PROPORTIONAL_SET,
        MetricName.UNIQUE_SET,
        MetricName.PRIVATE_DIRTY,
        MetricName.MEMORY_USED,
        MetricName.PROCESSES,
        MetricName.THREADS,
        MetricName.PRIVATE_BYTES,
    }
)
"""Series of which a process that lives always has something."""
_SELDOM_ZERO = frozenset({MetricName.HEAP, MetricName.ANONYMOUS, MetricName.DESCRIPTORS})
"""Series that may be 0 for a moment, but not to the end when they were not so from the start."""


def living_part(recording: Recording) -> tuple[Recording, str]:
    """What was recorded of a living process, and why that is not all; empty when it is."""
    judged = {
        name: values
        for name, values in recording.series.items()
        if name in _NEVER_ZERO | _SELDOM_ZERO
    }
    if not judged:
        return recording, ""
    if not any(map(_has_any, judged.values())):
        return recording, (
            "every reading is 0: nothing was measured (the process was gone, or it belongs to "
            "somebody whose figures may not be read)"
        )
    begin = max(_leading_zeros(name, values) for name, values in judged.items())
    recording = _part(recording, begin, len(recording.requests))
    judged = {name: recording.series[name] for name in judged}
    first = min(_first_zero(name, values) for name, values in judged.items())
    if first >= len(recording.requests):
        return recording, ""
    per = recording.axis.removesuffix("s")
    why = (
        f"from {per} {recording.requests[first]:,.0f} on readings are 0: the process ended there "
        "(was it killed?), so the rest of the run was not measured"
    )
    return _part(recording, 0, first), why


def _part(recording: Recording, begin: int, end: int) -> Recording:
    series = {name: values[begin:end] for name, values in recording.series.items()}
    return replace(recording, requests=recording.requests[begin:end], series=series)


def _leading_zeros(name: str, values: tuple[Cell, ...]) -> int:
    """How many readings were made before the process had begun."""
    if name not in _NEVER_ZERO:
        return 0
    return next((index for index, value in enumerate(values) if value), 0)


def _has_any(values: tuple[Cell, ...]) -> bool:
    return any(values)


def _first_zero(name: str, values: tuple[Cell, ...]) -> int:
    """Where the process was gone; the length where it never was."""
    if name in _NEVER_ZERO:
        for index, value in enumerate(values):
            if value == 0:
                return index
        return len(values)
    last = len(values)
    while last and not values[last - 1]:
        last -= 1
    return last if 0 < last < len(values) and values[last] == 0 else len(values)
