"""When a run may end before its budget, and what it still needs. Numbers and answers, no I/O.

At a checkpoint the growth so far is judged; two that agree may end the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.ages import Ages, Fate
from pytest_leakguard.growth.answers import Judgement, Leaking, Trend, Undecided
from pytest_leakguard.growth.metrics import Source

_QUIET = {Shape.STABLE, Shape.CACHE, Shape.BURST}


@dataclass(frozen=True, slots=True)
class Preset:
    """When a run may end before its budget."""

    name: str
    allowance_bytes: float
    """Growth below this does not end a run as a leak; infinite where nothing that grows may."""
    min_leak_bytes: float
    """A quiet run goes on until a leak of this many bytes per request would have shown."""
    max_requests: int = thresholds.USUAL_REQUESTS
    stops_early: bool = True
    is_elastic: bool = False
    """Whether there may be more than ``max_requests`` where readings are dear beside them."""

    def min_leak(self, unit: str) -> float:
        """Return the smallest leak worth waiting for, per request; only bytes are waited for."""
        return self.min_leak_bytes if unit == "bytes" else math.inf


DEFAULT = Preset("default", thresholds.ALLOWANCE_BYTES, thresholds.MIN_LEAK_BYTES)
"""For a fixed set of few distinct requests, where key-driven caches settle at once."""
CAREFUL = Preset("careful", math.inf, thresholds.MIN_LEAK_UNIQUE_BYTES)
"""For requests with unique keys: a cache that still fills looks like a leak, however large."""
FULL = Preset("full", 0, 0, stops_early=False)
"""For a run that uses its whole budget."""


def next_checkpoint(requests: int) -> int:
    """Return the request count of the next checkpoint; geometric, so that there are few."""
    next_one = math.ceil(thresholds.CHECKPOINT_FACTOR * requests)
    return max(thresholds.FIRST_CHECKPOINT_REQUESTS, next_one)


def may_stop(checkpoints: Sequence[Judgement], preset: Preset = DEFAULT) -> str:
    """Say why the run may end at the last checkpoint; empty when it has to go on."""
    if not checkpoints:
        return ""
    requests = checkpoints[-1].overall.iterations
    if requests >= preset.max_requests:
        return f"the budget of {preset.max_requests} requests is used"
    if not preset.stops_early:
        return ""
    return _surely_leaks(checkpoints, preset) or _surely_quiet(checkpoints, preset)


@dataclass(frozen=True, slots=True)
class AgedLook:
    """What became of the batches, as seen after so many requests."""

    requests: int
    ages: Mapping[str, Ages]
    stands_still: bool
    """Nothing else grows: counters, pages."""
    is_for_good: bool = False
    """What is kept cannot be given back: nothing leads to it any more, or only what was kept later
    does, or a container holds it that takes an entry with each request and never gives one back."""
    is_emptied: bool = False
    """A container holds it that gives entries back, and nobody says when."""

    def is_leak(self) -> bool:
        return any(ages.is_leak for ages in self.ages.values())

    def is_sure(self) -> bool:
        """Return whether no usual cache, ring or pool would still keep all it was given."""
        kept = [ages for ages in self.ages.values() if ages.is_leak]
        largest = max((ages.kept_bytes for ages in kept), default=0)
        is_rare = not any(ages.is_in_each for ages in kept)
        whole = max((ages.whole_bytes for ages in kept), default=0.0)
        if is_rare and whole < thresholds.SERVICE_HEAP_FLOOR_BYTES:
            return self.is_for_good
        is_large = largest >= thresholds.AGED_SURE_BYTES
        return self.is_for_good or is_large or self.requests >= self.sure_after()

    def sure_after(self) -> int:
        """Return the requests after which it is a leak whoever holds it."""
        if self.is_emptied:
            return thresholds.AGED_SURE_EMPTIED_REQUESTS
        if any(ages.is_in_each for ages in self.ages.values()):
            return thresholds.AGED_SURE_REQUESTS
        return thresholds.AGED_SURE_RARE_REQUESTS

    def is_quiet(self) -> bool:
        return self.stands_still and all(_is_over(ages) for ages in self.ages.values())


def _is_over(ages: Ages) -> bool:
    return ages.fate is Fate.GONE or ages.is_settled


def may_stop_by_age(looks: Sequence[AgedLook], preset: Preset) -> str:
    """Say why the run may end after the last look; empty when it has to go on."""
    recent = looks[-thresholds.AGED_LOOKS :]
    if len(recent) < thresholds.AGED_LOOKS or not preset.stops_early:
        return ""
    requests = recent[-1].requests
    if all(look.is_quiet() for look in recent[-thresholds.AGED_QUIET_LOOKS :]):
        return f"quiet; nothing that {requests:,} requests allocated was kept"
    if math.isinf(preset.allowance_bytes) or not all(look.is_leak() for look in recent):
        return ""
    if recent[-1].is_sure():
        return f"leak confirmed (what {requests:,} requests allocated is kept)"
    return ""


def _surely_leaks(checkpoints: Sequence[Judgement], preset: Preset) -> str:
    """A leak needs a checkpoint that confirms it, half as many requests later, none against it."""
    # A quiet checkpoint in between says that the growth before it had ended.
    unbroken = list(takewhile(_is_leak, reversed(checkpoints)))
    if not unbroken:
        return ""
    last, first = unbroken[0].overall, unbroken[-1].overall
    is_confirmed = last.iterations >= thresholds.CONFIRMED_AFTER * first.iterations
    is_large = _is_beyond_allowance(last, preset) or _outgrows_pools(checkpoints[-1], preset)
    if is_confirmed and is_large:
        return f"leak confirmed (growing since request {first.iterations:,})"
    return ""


def _is_leak(judgement: Judgement) -> bool:
    return judgement.shape is Shape.LEAK


def _is_beyond_allowance(trend: Trend, preset: Preset) -> bool:
    if trend.metric.unit == "bytes":
        return trend.rise >= preset.allowance_bytes
    # With unique keys pools and caches of files fill as others do.
    return not math.isinf(preset.allowance_bytes)


def _outgrows_pools(judgement: Judgement, preset: Preset) -> bool:
    """Return whether a counter beside the memory grows beyond what anybody keeps on purpose."""
    counters = [trend for trend in judgement.trends if trend.metric.source is Source.COUNTER]
    leaking = [trend for trend in counters if isinstance(trend, Leaking)]
    has_many = any(trend.rise >= thresholds.POOL_SIZE for trend in leaking)
    return has_many and not math.isinf(preset.allowance_bytes)


def _surely_quiet(checkpoints: Sequence[Judgement], preset: Preset) -> str:
    if len(checkpoints) < 2:
        return ""
    before, last = checkpoints[-2:]
    # Neither undecided nor fragmentation: both may still become something else.
    if not {before.shape, last.shape} <= _QUIET:
        return ""
    was_sensitive = _is_sensitive(before, preset, thresholds.QUIET_BEFORE)
    if was_sensitive and _is_sensitive(last, preset, 1):
        return f"quiet; no leak in the first {last.overall.iterations:,} requests"
    return ""


def _is_sensitive(judgement: Judgement, preset: Preset, times: float) -> bool:
    """Return whether every reading would have shown a leak of so many times the least one."""
    for trend in _most_sensitive(judgement):
        detectable = trend.detectable_per_iteration
        if detectable is None or detectable > times * preset.min_leak(trend.metric.unit):
            return False
    return True


def _most_sensitive(judgement: Judgement) -> Sequence[Trend]:
    """Return the readings of the live heap, or the deciding one where there are none."""
    heaps = [trend for trend in judgement.trends if trend.metric.source is Source.HEAP]
    return heaps or [judgement.overall]


def missing(checkpoints: Sequence[Judgement], requests: int, preset: Preset) -> str:
    """Say what a verdict still takes after so many ``requests``, for whoever waits."""
    rest = f"up to {max(0, preset.max_requests - requests):,} more requests"
    if not checkpoints or not preset.stops_early:
        return rest
    overall = checkpoints[-1].overall
    if isinstance(overall, Undecided):
        return rest
    if isinstance(overall, Leaking):
        return _missing_of_leak(overall, preset, rest)
    detectable = [
        trend.detectable_per_iteration or math.inf for trend in _most_sensitive(checkpoints[-1])
    ]
    if max(detectable) > preset.min_leak_bytes:
        return f"{rest}, or as many as show a leak of {preset.min_leak_bytes:.0f} bytes per request"
    return rest


def _missing_of_leak(leak: Leaking, preset: Preset, rest: str) -> str:
    if math.isinf(preset.allowance_bytes):
        return rest
    if not _is_beyond_allowance(leak, preset):
        allowance = f"{preset.allowance_bytes / thresholds.MIB:.0f} MiB"
        return f"{rest}, or until it has grown by {allowance}, to tell it from a cache"
    return f"{rest} to confirm a leak"
