"""A growth verdict as text: the answer, the curve, what speaks for and against, the forecast.

Formats only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_leakguard.core.checks import Diagnosis, Growth, Hypothesis, Mark
from pytest_leakguard.core.leaks import Rate
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import duration, plural, quantity, size, two_digits

_RECOVERED = 0.7
"""Share of the limit that an incident report asks memory to come back below after a fix."""
CURVE_COLUMNS = 40
"""Width of the row of bars, in characters."""
_BARS = "▁▂▃▄▅▆▇█"
_HEADS = {
    Shape.LEAK: "LEAK",
    Shape.CACHE: "cache (levels off)",
    Shape.BURST: "burst (a step, then flat)",
    Shape.FRAGMENTATION: "fragmentation",
    Shape.STABLE: "stable",
    Shape.UNDECIDED: "UNDECIDED",
}
_NEXT = {Shape.LEAK: "A", Shape.CACHE: "B", Shape.BURST: "C", Shape.FRAGMENTATION: "D"}


def head(diagnosis: Diagnosis, growth: Sequence[Growth]) -> str:
    """The answer in one line."""
    title = _HEADS[diagnosis.shape]
    decisive = deciding(diagnosis, growth)
    if decisive is None:
        return title
    runs = f"over {_count(diagnosis.iterations, diagnosis.per)}"
    if diagnosis.shape is Shape.LEAK:
        return f"{title}  {decisive.metric} grows by {rate(decisive, diagnosis.per)} {runs}"
    if diagnosis.shape is Shape.UNDECIDED:
        return f"{title}  {decisive.metric}: {decisive.reason}"
    return f"{title}  {decisive.metric} kept {_signed(decisive.rise, decisive.unit)} {runs}"


def deciding(diagnosis: Diagnosis, growth: Sequence[Growth]) -> Growth | None:
    """The series that decided."""
    for series in growth:
        if series.metric == diagnosis.metric:
            return series
    return None


def rate(growth: Growth, per: str) -> str:
    """``10.3 KiB per request [10.1, 10.5]``."""
    return f"{measured(growth.per_iteration, growth.unit)} per {per} {interval(growth)}"


def interval(growth: Growth | Rate) -> str:
    """``[10.1 KiB, 10.5 KiB]``: of 95%."""
    return f"[{measured(growth.low, growth.unit)}, {measured(growth.high, growth.unit)}]"


def measured(value: float, unit: str) -> str:
    """As a headline has it, with the three digits that an interval bears."""
    return size(float(f"{value:.3g}")) if unit == "bytes" else quantity(value, unit)


def _signed(value: float, unit: str) -> str:
    return f"{'+' if value >= 0 else '-'}{quantity(abs(value), unit)}"


def _count(number: float, per: str) -> str:
    return f"{number:,.0f} {plural(per, number)}"


def lines(diagnosis: Diagnosis, growth: Sequence[Growth]) -> Iterator[str]:
    """Everything below the answer."""
    decisive = deciding(diagnosis, growth)
    if decisive:
        yield from _curve(decisive, diagnosis)
    yield from _table(diagnosis, growth)
    if diagnosis.stopped:
        yield f"stopped: {diagnosis.stopped}"
    yield from sensitivity(diagnosis, growth)
    yield from diagnosis.facts
    for hypothesis in diagnosis.hypotheses:
        yield from _hypothesis(hypothesis)
    yield from forecast(diagnosis)
    yield from _next_step(diagnosis)


def in_short(diagnosis: Diagnosis, growth: Sequence[Growth]) -> Iterator[str]:
    """The curve, why it is what it is, where it ended, and the forecast."""
    decisive = deciding(diagnosis, growth)
    if decisive:
        runs = _count(diagnosis.iterations, diagnosis.per)
        yield f"{rate(decisive, diagnosis.per)} over {runs}"
        yield from _curve(decisive, diagnosis)
    if diagnosis.stopped:
        yield f"stopped: {diagnosis.stopped}"
    letter = _NEXT.get(diagnosis.shape)
    for hypothesis in diagnosis.hypotheses:
        if hypothesis.letter == letter:
            for evidence in hypothesis.speaks_for:
                yield f"why {hypothesis.name}: {evidence}"
    yield from forecast(diagnosis)
    yield from _next_step(diagnosis)


def _curve(growth: Growth, diagnosis: Diagnosis) -> Iterator[str]:
    if len(growth.samples) < 2:
        return
    first, last = growth.samples[0], growth.samples[-1]
    ends = f"{quantity(first[1], growth.unit)} → {quantity(last[1], growth.unit)}"
    settled = ""
    if diagnosis.settled_at is not None:
        settled = f"; settled near {diagnosis.per} {diagnosis.settled_at:,}"
    yield f"{curve(growth.samples)}  {ends}{settled}"


def curve(samples: Sequence[tuple[float, float]]) -> str:
    """The series as one row of bars, from its lowest to its highest sample."""
    start, width = samples[0][0], (samples[-1][0] - samples[0][0]) / CURVE_COLUMNS or 1.0
    columns: dict[int, float] = {}
    for x, y in samples:
        columns[min(CURVE_COLUMNS - 1, int((x - start) / width))] = y
    low, high = min(columns.values()), max(columns.values())
    span = high - low or 1.0
    last, bars = columns[min(columns)], []
    for column in range(CURVE_COLUMNS):
        last = columns.get(column, last)  # no sample falls into every column
        bars.append(_BARS[int((last - low) / span * (len(_BARS) - 1))])
    return "".join(bars)


def _table(diagnosis: Diagnosis, growth: Sequence[Growth]) -> Iterator[str]:
    width = max((len(series.metric) for series in growth), default=0)
    quiet = []
    for series in growth:
        if series.shape is Shape.STABLE and series.unit != "bytes":
            quiet.append(series.metric)
            continue
        text = f"kept {_signed(series.rise, series.unit)}"
        if series.shape is Shape.LEAK:
            text = f"{rate(series, diagnosis.per)}, {text}"
        elif series.reason:
            text = series.reason
        yield f"{series.metric:<{width}}  {series.shape:<13}  {text}"
    if quiet:
        yield f"stable: {', '.join(quiet)}"


def sensitivity(diagnosis: Diagnosis, growth: Sequence[Growth]) -> Iterator[str]:
    """What the best reading of memory would have shown, where no leak was found."""
    if diagnosis.shape in (Shape.LEAK, Shape.UNDECIDED):
        return
    sizes = []
    for series in growth:
        size = series.detectable_per_iteration
        if series.unit == "bytes" and series.shape is not Shape.UNDECIDED and size is not None:
            sizes.append(size)
    if not sizes:
        yield "too short a run to detect a leak of any size"
        return
    shown = quantity(max(min(sizes), 0))
    yield (
        f"no leak in {_count(diagnosis.iterations, diagnosis.per)} "
        f"(smallest detectable: {shown} per {diagnosis.per})"
    )


def _hypothesis(hypothesis: Hypothesis) -> Iterator[str]:
    for evidence in hypothesis.speaks_for:
        yield f"for {hypothesis.name}: {evidence}"
    for evidence in hypothesis.speaks_against:
        yield f"against {hypothesis.name}: {evidence}"


def forecast(diagnosis: Diagnosis) -> Iterator[str]:
    """When the memory limit is reached, where one was given."""
    if not diagnosis.limit_bytes or (diagnosis.shape is Shape.LEAK and not diagnosis.marks):
        return  # what leaks is no memory
    limit = f"{quantity(diagnosis.limit_bytes)} limit, {quantity(diagnosis.current_bytes)} in use"
    if not diagnosis.marks:
        size = quantity(diagnosis.limit_bytes)
        in_use = quantity(diagnosis.current_bytes)
        yield f"forecast: the {size} limit is not reached ({in_use} in use)"
        return
    yield f"forecast, if the same traffic continues: {limit}"
    lines = [f"    {mark.share:.0%} {_reached(mark, diagnosis.per)}" for mark in diagnosis.marks]
    yield from dict.fromkeys(lines)  # what is passed already is so at every rate
    if diagnosis.shape is Shape.LEAK:
        recovered = quantity(_recovered(diagnosis))
        yield f"    after a fix it should stay below {_RECOVERED:.0%}: {recovered}"


def _recovered(diagnosis: Diagnosis) -> float:
    return _RECOVERED * diagnosis.limit_bytes


def _reached(mark: Mark, per: str) -> str:
    if mark.requests == 0:
        return "is already passed"
    if mark.requests is None or mark.seconds is None:
        return "never, at the growth measured"
    soonest = "never" if mark.soonest_s is None else duration(mark.soonest_s)
    latest = "no upper bound" if mark.latest_s is None else duration(mark.latest_s)
    between = f"[{soonest}, {latest}]"
    if per == "second":
        return f"after {duration(mark.seconds)} {between}"
    pace = f"{mark.rate_per_s:g} {plural(per, mark.rate_per_s)}/s"
    at_rate = f"{duration(mark.seconds)} at {pace} {between}"
    return f"after {two_digits(mark.requests)} {plural(per)}: {at_rate}"


def _next_step(diagnosis: Diagnosis) -> Iterator[str]:
    letter = _NEXT.get(diagnosis.shape)
    for hypothesis in diagnosis.hypotheses:
        if hypothesis.letter == letter:
            yield f"next: {hypothesis.next_step}"
