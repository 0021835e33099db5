"""When a run of looks may end before its budget, and what it still needs. Numbers and answers only, no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.growth.answers import Judgement, Leaking, Undecided
from pytest_leakguard.growth.metrics import Metric, Source
from pytest_leakguard.growth.thresholds import MIB

CONFIRMED_AFTER = 1.5
"""Times the requests of the first look that saw a leak, after which another one confirms it."""


@dataclass(frozen=True, slots=True)
class Preset:
    """When a run of looks may end before its budget; from 63 runs on seven services."""

    name: str
    allowance_bytes: float
    """Growth below this does not end a run as a leak: rings and collectors ramp up so far."""
    min_leak_bytes: float
    """A quiet run goes on until a leak of this many bytes per request would have shown."""
    max_requests: int
    min_requests: int = 50
    min_leak_blocks: float = 0.02
    stops_early: bool = True
    is_elastic: bool = False
    """Whether there may be more requests than ``max_requests`` where readings are dear beside them."""

    def min_leak(self, metric: Metric) -> float:
        """Return the smallest leak worth waiting for, in the metric's unit per request."""
        return {"bytes": self.min_leak_bytes, "blocks": self.min_leak_blocks}.get(
            metric.unit, math.inf
        )


DEFAULT = Preset("default", MIB, 256, 5000)
"""For a fixed set of at most 20 distinct requests, where key-driven caches settle at once."""
CAREFUL = Preset("careful", 8 * MIB, 64, 5000)
"""For requests with unique keys."""
FULL = Preset("full", 0, 0, 5000, stops_early=False)
IN_PROCESS = Preset("in-process", 0, 16, 2000, min_requests=100)
"""For calls with the same arguments, garbage collected before each sample."""


def next_look(requests: int, preset: Preset = DEFAULT) -> int:
    """Return the request count of the next look; geometric, so that there are few of them."""
    return max(preset.min_requests, math.ceil(1.25 * requests))


def may_stop(looks: Sequence[Judgement], preset: Preset = DEFAULT) -> str:
    """Say why the run may end at the last look; empty when it has to go on."""
    if not looks:
        return ""
    requests = looks[-1].overall.iterations
    if requests >= preset.max_requests:
        return f"the budget of {preset.max_requests} requests is used"
    if not preset.stops_early or requests < preset.min_requests:
        return ""
    return _surely_leaks(looks, preset) or _surely_quiet(looks, preset)


def _surely_leaks(looks: Sequence[Judgement], preset: Preset) -> str:
    """A leak look needs a confirming one, half as many requests later, and none against it."""
    unbroken = list(takewhile(lambda look: look.shape is Shape.LEAK, reversed(looks)))
    if not unbroken:
        return ""
    last, first = unbroken[0].overall, unbroken[-1].overall
    allowance = (
        preset.allowance_bytes
    )  # infinite with unique keys: pools and caches of files fill as others do
    is_enough = last.rise >= allowance if last.metric.unit == "bytes" else not math.isinf(allowance)
    if is_enough and last.iterations >= CONFIRMED_AFTER * first.iterations:
        return f"a leak from request {first.iterations} on"
    return ""


def _surely_quiet(looks: Sequence[Judgement], preset: Preset) -> str:
    quiet = {Shape.STABLE, Shape.CACHE, Shape.BURST}
    if len(looks) < 2 or not {look.shape for look in looks[-2:]} <= quiet:
        return ""
    if _is_sensitive(looks[-1], preset, 1) and _is_sensitive(looks[-2], preset, 2):
        return f"quiet; no leak in the first {looks[-1].overall.iterations} requests"
    return ""


def _is_sensitive(look: Judgement, preset: Preset, times: float) -> bool:
    heaps = [trend for trend in look.trends if trend.metric.source is Source.HEAP]
    seen = [
        trend.detectable_per_iteration is not None
        and trend.detectable_per_iteration <= times * preset.min_leak(trend.metric)
        for trend in heaps or [look.overall]
    ]
    return all(seen)


def missing(looks: Sequence[Judgement], requests: int, preset: Preset) -> str:
    """Say what a verdict still takes after so many ``requests``, for whoever waits."""
    rest = f"at most {max(0, preset.max_requests - requests):,} more requests"
    if not looks or not preset.stops_early or isinstance(looks[-1].overall, Undecided):
        return rest
    overall = looks[-1].overall
    if isinstance(overall, Leaking):
        if math.isinf(preset.allowance_bytes):
            return rest
        if overall.metric.unit == "bytes" and overall.rise < preset.allowance_bytes:
            return f"{rest}, or {preset.allowance_bytes / MIB:.0f} MiB of growth, as no cache that fills has"
        return f"a look that confirms it, or {rest}"
    heaps = [trend for trend in looks[-1].trends if trend.metric.source is Source.HEAP] or [overall]
    seen = max((trend.detectable_per_iteration or math.inf) for trend in heaps)
    if seen > preset.min_leak_bytes:
        return f"{rest}, or as many as show a leak of {preset.min_leak_bytes:.0f} bytes per request"
    return rest
