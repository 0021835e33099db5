"""The growth verdict for a series that somebody else recorded.

The text of a file goes in, text and exit status come out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_leakguard.core.checks import Diagnosis, Growth
from pytest_leakguard.core.codec import encode
from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import quantity
from pytest_leakguard.growth.answers import Judgement, Trend, Undecided
from pytest_leakguard.growth.classify import judge
from pytest_leakguard.growth.diagnosis import LEAK_STEP, Production, diagnose, growths
from pytest_leakguard.growth.ended import living_part
from pytest_leakguard.growth.metrics import IN_PROCESS_METRICS, METRICS, above_noise
from pytest_leakguard.growth.pieces import compared, straightened
from pytest_leakguard.growth.recordings import NOTHING_ASKED, Asked, Recording, read_series
from pytest_leakguard.reporters import growth_text as words
from pytest_leakguard.verdict import CLEAN, INCONCLUSIVE, LEAKS

_COMPARED = (
    MetricName.HEAP,
    MetricName.PRIVATE_BYTES,
    MetricName.ANONYMOUS,
    MetricName.UNIQUE_SET,
    MetricName.RESIDENT_SET,
    MetricName.MEMORY_USED,
    MetricName.DESCRIPTORS,
    MetricName.THREADS,
)
"""Series by which two groups are compared; the first that both have decides."""
FORMAT, VERSION = "leakguard-trend", 1
_NEXT_STEP = (
    "to find the allocating line, drive the service with leakguard.serve (docs/services.md), "
    "or run the program with pytest-leakguard run"
)
_EXIT: Mapping[Shape, int] = {Shape.LEAK: LEAKS, Shape.UNDECIDED: INCONCLUSIVE}

_RUNTIMES = {"jvm": "jvm", "java": "jvm", "kotlin": "jvm", "scala": "jvm"}
_RUNTIMES |= {"v8": "v8", "node": "v8", "javascript": "v8"}


@dataclass(frozen=True, slots=True)
class TrendReport:
    """One judged recording."""

    name: str
    axis: str
    diagnosis: Diagnosis
    growth: tuple[Growth, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 no leak, 1 leak, 3 undecided."""
        return _EXIT.get(self.diagnosis.shape, CLEAN)


def judge_recording(
    text: str,
    name: str,
    production: Production,
    runtime: str = "",
    asked: Asked = NOTHING_ASKED,
) -> TrendReport:
    """The verdict on what ``text`` recorded.

    ``runtime`` is ``v8`` or ``jvm`` where resident memory is that of such a heap; a JSON recording
    may say so itself. Raises ``MalformedReport`` when the text cannot be read.
    """
    recording, gone = living_part(read_series(text, name, asked))
    recording, noise = _straightened(recording)
    metrics = IN_PROCESS_METRICS if MetricName.BLOCKS in recording.series else METRICS
    processes = [value for value in recording.series.get(MetricName.PROCESSES, ()) if value]
    judgement = judge(
        recording.requests,
        recording.series,
        processes=int(max(processes, default=1)),
        runtime=runtime or _runtime_in(text),
        metrics=[above_noise(metric, noise.get(metric.name, 0.0)) for metric in metrics],
    )
    judgement = _in_units(judgement, recording.axis)
    per = recording.axis.removesuffix("s")
    diagnosis = diagnose(judgement, recording.requests, recording.series, per, production)
    diagnosis = _of_recording(diagnosis)
    growth = growths(judgement, recording.requests, recording.series)
    notes = _notes(recording, judgement.ignored, production)
    report = TrendReport(name, recording.axis, diagnosis, growth, notes)
    return _cut_short(report, gone) if gone else report


def _of_recording(diagnosis: Diagnosis) -> Diagnosis:
    """With a next step that can be taken: there is nothing to run with a tool yet."""
    hypotheses = (
        replace(each, next_step=_NEXT_STEP) if each.next_step == LEAK_STEP else each
        for each in diagnosis.hypotheses
    )
    return replace(diagnosis, hypotheses=tuple(hypotheses))


def _in_units(judgement: Judgement, axis: str) -> Judgement:
    """What is missing is counted as the recording counts, which need not be in requests."""

    def said(trend: Trend) -> Trend:
        if not isinstance(trend, Undecided):
            return trend
        return replace(trend, remedy=trend.remedy.replace("requests", axis))

    return replace(
        judgement, overall=said(judgement.overall), trends=tuple(map(said, judgement.trends))
    )


def _cut_short(report: TrendReport, gone: str) -> TrendReport:
    """A leak that was seen before a process ended stays one; anything else is undecided."""
    if report.diagnosis.shape is Shape.LEAK:
        return replace(report, notes=(*report.notes, gone))
    series = [
        replace(each, shape=Shape.UNDECIDED, reason=gone, detectable_per_iteration=None)
        for each in report.growth
    ]
    diagnosis = replace(report.diagnosis, shape=Shape.UNDECIDED, stopped=gone)
    return replace(report, diagnosis=diagnosis, growth=tuple(series))


def _straightened(recording: Recording) -> tuple[Recording, dict[str, float]]:
    """Return it without restarts and daily cycles, where it is over seconds and has any.

    Besides, for each series from which a cycle was taken, the noise that is left.

    Of memory only: descriptors and threads are few enough to be judged as they are.
    """
    if recording.axis != "seconds":
        return recording, {}
    noise: dict[str, float] = {}
    series: dict[str, tuple[float | None, ...]] = {}
    notes: list[str] = []
    for name, values in recording.series.items():
        known = [value for value in values if value is not None]
        if len(known) < len(values) or name in SERVICE_COUNTERS:
            series[name] = values
            continue
        found = straightened(recording.requests, known)
        series[name], noise[name] = found.ys, found.noise
        notes += [f"{name}: {note}" for note in found.notes]
    if not notes:
        return recording, {}
    return replace(recording, series=series, notes=(*recording.notes, *notes)), noise


def compare_recordings(
    text: str, name: str, other: str, other_name: str, asked: Asked = NOTHING_ASKED
) -> tuple[str, int]:
    """The candidate beside the reference, as in a staged roll-out: a text, and the exit status."""
    first, second = (
        _straightened(read_series(one, file, asked))[0]
        for one, file in ((text, name), (other, other_name))
    )
    shared = [metric for metric in _COMPARED if metric in first.series and metric in second.series]
    if not shared or first.axis != second.axis:
        return f"{name} and {other_name} have no series over the same axis in common", INCONCLUSIVE
    metric, per = shared[0], first.axis.removesuffix("s")
    found = compared(_known(first, metric), _known(second, metric))
    if found is None:
        return f"{metric}: too few samples to compare; record longer", INCONCLUSIVE
    unit = 3600.0 if per == "second" else 1.0
    kind = next(one.unit for one in METRICS if one.name == metric)
    rates: list[str] = []
    for value in (found.candidate, found.reference, found.faster, found.low, found.high):
        sign = "-" if value < 0 else ""
        rates.append(f"{sign}{quantity(abs(value) * unit, kind)}")
    per = "hour" if per == "second" else per
    answer = "grows faster than" if found.is_faster else "does not surely grow faster than"
    lines = [
        f"{name} {answer} {other_name}: {rates[2]} per {per} more "
        f"(95 % between {rates[3]} and {rates[4]})",
        f"      {metric}: {rates[0]} per {per} against {rates[1]}",
    ]
    lines += [f"note: {note}" for note in (*first.notes, *second.notes)]
    return "\n".join(lines), LEAKS if found.is_faster else CLEAN


def _known(recording: Recording, metric: str) -> tuple[list[float], list[float]]:
    xs, ys = list[float](), list[float]()
    for x, y in zip(recording.requests, recording.series[metric], strict=True):
        if y is not None:
            xs.append(x)
            ys.append(y)
    return xs, ys


def _runtime_in(text: str) -> str:
    """What a JSON recording says of its ``runtime`` or ``language``; empty when nothing.

    A JVM that was given bounds for its heap (``controls``: -Xmn, a serial collector) gives memory
    back, so it is judged like any other program.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    name = document.get("runtime", document.get("language"))
    if not isinstance(name, str):
        return ""
    runtime = _RUNTIMES.get(name.lower(), "")
    return "" if runtime == "jvm" and document.get("controls") else runtime


def _notes(
    recording: Recording, ignored: tuple[str, ...], production: Production
) -> tuple[str, ...]:
    notes = list(recording.notes)
    if ignored:
        notes.append(f"not judged, as nothing is known of them: {', '.join(ignored)}")
    if production.rate_per_s and not production.limit_bytes:
        notes.append("no forecast: a rate says nothing without --memory-limit")
    return tuple(notes)


def as_text(report: TrendReport) -> str:
    """For a reader at a terminal."""
    lines = [words.head(report.diagnosis, report.growth)]
    for line in words.lines(report.diagnosis, report.growth):
        lines.append(f"      {line}")
    for note in report.notes:
        lines.append(f"note: {note}")
    return "\n".join(lines)


def as_dict(report: TrendReport) -> dict[str, Any]:
    """For a program: ``shape`` is the answer, ``growth`` has one entry per series."""
    diagnosis: dict[str, Any] = encode(report.diagnosis)
    return {
        "format": FORMAT,
        "version": VERSION,
        "file": report.name,
        "axis": report.axis,
        "shape": diagnosis.pop("shape"),
        "metric": diagnosis.pop("metric"),
        "exit_status": report.exit_status,
        "growth": encode(report.growth),
        "forecast": {key: diagnosis.pop(key) for key in ("marks", "limit_bytes", "current_bytes")},
        "diagnosis": diagnosis,
        "notes": list(report.notes),
    }


def as_json(report: TrendReport) -> str:
    """``as_dict`` as text."""
    return json.dumps(as_dict(report), indent=2) + "\n"
