"""Growth by age: what is still alive of what each batch allocated, when later ones are done.

A leak keeps what it allocated, a full cache loses the old for the new, a session expires. So a few
hundred requests tell what a sum over all batches shows only after thousands. Numbers only, no I/O.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import linear_regression, median

from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.filling import Filling
from pytest_leakguard.growth.larger_blocks import steps_in


class Fate(StrEnum):
    """What became of what the batches had allocated."""

    KEPT = "kept"
    """Each batch keeps as much per request as any other, and none loses any: a leak."""
    KEPT_NOW_AND_THEN = "kept now and then"
    """Some batches keep as much as one another, all over the run, and none loses any: a leak in
    one request of many."""
    GROWN = "grown"
    """Ever larger blocks take the place of smaller ones, all over the run: a buffer or a table to
    which each request adds, and nothing takes away."""
    LOST = "lost"
    """Old batches lose what they had kept at first: a cache that is full, sessions that end."""
    FILLING = "filling"
    """Kept so far, in a container that says how much it will hold, and is not full yet."""
    GONE = "gone"
    """Nothing of it is left."""
    UNKNOWN = "unknown"
    """None of these, or too few batches."""


@dataclass(frozen=True, slots=True)
class Ages:
    """The answer, and the growth per request in bytes with its interval."""

    fate: Fate
    per_request: float = 0.0
    low: float = 0.0
    high: float = 0.0
    kept_bytes: int = 0
    """Alive of all batches that were looked at."""
    batches: int = 0
    """Batches that were looked at."""
    requests: int = 0
    """Their requests."""
    lost_bytes: int = 0
    """Alive of them at first, and no longer."""
    filling: Filling | None = None
    """What is filling."""
    first: int = 0
    """Number of the first batch that was looked at."""
    is_for_good: bool = False
    """What is kept can never be given back, as was seen in the service."""
    is_settled: bool = False
    """Nothing is left of those that are old enough: no leak beneath a cache either."""

    @property
    def is_leak(self) -> bool:
        return self.fate in (Fate.KEPT, Fate.KEPT_NOW_AND_THEN, Fate.GROWN)

    @property
    def is_in_each(self) -> bool:
        """Return whether each request leaves something."""
        return self.fate in (Fate.KEPT, Fate.GROWN)

    @property
    def whole_bytes(self) -> float:
        """What the whole run keeps at this pace, warm-up included."""
        return self.kept_bytes / (1 - thresholds.AGED_WARM_UP)

    @property
    def summary(self) -> str:
        """What they say, for the reader."""
        of_batches = f"of what {self.batches} batches of {self.requests:,} requests allocated"
        if self.fate is Fate.GROWN:
            gained = f"{self.kept_bytes:,} bytes were gained in {self.requests:,} requests"
            return f"{gained} by a block that is made anew, larger each time, whenever it is full"
        if self.is_leak:
            return f"{of_batches}, {self.kept_bytes:,} bytes are still alive, and none lost any"
        if self.fate is Fate.LOST:
            return f"{of_batches}, {self.lost_bytes:,} bytes are gone again: old ones lose theirs"
        return f"{of_batches}, {self.kept_bytes:,} bytes are still alive"


@dataclass(frozen=True, slots=True)
class Counted:
    """What is counted block by block in every process, where it is."""

    ages: Mapping[str, Ages]
    """By the name of the series."""
    peak: Sequence[float | None] = ()
    """The most that was ever in blocks at once, by sample: what allocators keep pages for."""


@dataclass(frozen=True, slots=True)
class _Batch:
    requests: int
    at_first: int
    """Alive once the batch after it was done."""
    now: int

    @property
    def rate(self) -> float:
        return self.now / self.requests


def judge_ages(
    ends: Sequence[int],
    alive: Sequence[Sequence[int]],
    older: Sequence[int] = (),
    patience: int = thresholds.AGED_AFTER_REQUESTS,
    settled: int = -1,
) -> Ages:
    """Return what became of what each batch had allocated.

    ``ends[i]`` are the requests that were done at the end of batch ``i``; ``alive[i][k]`` is what
    was alive then of what batch ``k <= i`` had allocated, in bytes, and ``older[i]`` of what is
    older than the first batch. Only ``patience`` requests after its end a batch is asked what it
    keeps: until then its connections may be open. After batch ``settled`` the service was at rest
    for seconds: what it and those before it keep is asked then, when none is open any more.
    """
    done = ends[-1] if ends else 0
    first = _first_after(ends, thresholds.AGED_WARM_UP * done)
    batches = _batches(ends, alive, first, patience, settled)
    if len(batches) < thresholds.AGED_BATCHES:
        return Ages(Fate.UNKNOWN)
    answer = _of_batches(ends, alive, older, patience, settled)
    if answer.is_leak:
        return answer
    return _in_larger_blocks(ends, alive, older, answer) or answer


def _of_batches(
    ends: Sequence[int],
    alive: Sequence[Sequence[int]],
    older: Sequence[int],
    patience: int,
    settled: int,
) -> Ages:
    first = _first_after(ends, thresholds.AGED_WARM_UP * ends[-1])
    batches = _batches(ends, alive, first, patience, settled)
    late = _first_after(ends, thresholds.AGED_QUIET_FROM * ends[-1])
    if _is_gone(ends, alive, _batches(ends, alive, late, patience, settled), late):
        is_grown = _has_grown(ends, alive, older, late)
        return replace(_facts(batches, first), fate=Fate.UNKNOWN if is_grown else Fate.GONE)
    answer = _answer(batches, first)
    if answer.fate is Fate.KEPT and _is_full(ends, alive, patience, settled):
        return _facts(batches, first)
    if answer.fate is Fate.KEPT and _is_in_few_requests(ends, alive):
        return _with_rate(_facts(batches, first), batches, Fate.KEPT_NOW_AND_THEN)
    return _beneath_cache(ends, alive, answer) if answer.fate is Fate.LOST else answer


def _in_larger_blocks(
    ends: Sequence[int], alive: Sequence[Sequence[int]], older: Sequence[int], facts: Ages
) -> Ages | None:
    """Return the growth of a block that is replaced by a larger one again and again, if any."""
    before = older or [0] * len(ends)
    totals = [aged + sum(kept) for aged, kept in zip(before, alive, strict=True)]
    steps = steps_in(ends, totals)
    if steps is None or steps.per_request < thresholds.AGED_LEAST_BYTES:
        return None
    return replace(
        facts,
        fate=Fate.GROWN,
        per_request=steps.per_request,
        low=steps.low,
        high=steps.high,
        kept_bytes=steps.rise,
        requests=ends[-1] - steps.since,
    )


def _is_gone(
    ends: Sequence[int], alive: Sequence[Sequence[int]], late: Sequence[_Batch], first: int
) -> bool:
    """Return whether next to nothing is left of the late batches, which begin with ``first``.

    Or of the older ones of them, where the last ones are not the beginning of growth, or a leak in
    one request of many: what they keep an older one kept too when it was as young.
    """
    if _is_empty(late):
        return True
    for share in thresholds.AGED_OLDER:
        older = _count_of(late, share)
        if _is_empty(late[:older]) and _is_only_young(ends, alive, first, older, len(late)):
            return True
    return False


def _count_of(batches: Sequence[_Batch], share: float) -> int:
    """Return how many batches from the first on make up that share of all their requests."""
    least = share * sum(batch.requests for batch in batches)
    done = 0
    for count, batch in enumerate(batches):
        if done >= least:
            return count
        done += batch.requests
    return len(batches)


def _is_only_young(
    ends: Sequence[int], alive: Sequence[Sequence[int]], first: int, older: int, count: int
) -> bool:
    """Return whether the last of ``count`` batches keep no more than older ones once did.

    Timers that were cancelled wait until there are a hundred, buffers for the next connection.
    """
    kept = expected = 0.0
    for k in range(first + older, first + count):
        age = ends[-1] - ends[k]
        most = most_bytes = 0.0
        for j in range(first, first + older):
            at = bisect_left(ends, ends[j] + age)
            most = max(most, alive[at][j] / (ends[j] - (ends[j - 1] if j else 0)))
            most_bytes = max(most_bytes, alive[at][j])
        now = max(0, alive[-1][k])
        # A buffer that has doubled is larger than any before; it may double again.
        is_larger = now > thresholds.AGED_YOUNG * most_bytes
        if is_larger and now >= thresholds.AGED_LARGER_BYTES:
            return False
        kept += now
        expected += most * (ends[k] - (ends[k - 1] if k else 0))
    return kept <= thresholds.AGED_YOUNG * expected


def _is_in_few_requests(ends: Sequence[int], alive: Sequence[Sequence[int]]) -> bool:
    """Return whether most of the short batches, which came first, keep nothing.

    Long ones keep something each also where one request of many does.
    """
    short = keeping = 0
    for k in range(1, len(ends)):
        if ends[k] - ends[k - 1] <= thresholds.AGED_SHORT_REQUESTS:
            short += 1
            keeping += alive[-1][k] > 0
    return short >= thresholds.AGED_BATCHES and 2 * keeping < short


def _is_full(
    ends: Sequence[int], alive: Sequence[Sequence[int]], patience: int, settled: int
) -> bool:
    """Return whether lately about as much was lost as was kept anew: what has a bound is full.

    Those batches lose first that are the oldest, which are no longer looked at otherwise.
    """
    since = max(settled, 0, _first_after(ends, (1 - thresholds.AGED_LATELY) * ends[-1]) - 1)
    lost = gained = 0
    for k, end in enumerate(ends):
        now = max(0, alive[-1][k])
        if end + patience <= ends[since]:
            lost += max(0, alive[since][k] - now)
        elif end + patience <= ends[-1]:
            gained += now
    return lost > thresholds.AGED_FULL * gained


def _is_empty(batches: Sequence[_Batch]) -> bool:
    requests = sum(batch.requests for batch in batches)
    left = sum(batch.now for batch in batches)
    is_enough = requests >= thresholds.AGED_QUIET_REQUESTS
    return is_enough and left < thresholds.AGED_LEAST_BYTES * requests


def _beneath_cache(ends: Sequence[int], alive: Sequence[Sequence[int]], cache: Ages) -> Ages:
    """Return a leak beside a cache: old batches have lost what the cache had, and keep the rest.

    The cache itself where they keep nothing, or where it is too early to tell.
    """
    first = cache.first
    since = _first_after(ends, thresholds.AGED_BENEATH_FROM * ends[-1])
    if since >= len(ends):
        return cache
    # In requests, as batches differ: what has outlived so many has outlived the cache.
    end = bisect_left(ends, (ends[first] + ends[since]) / 2)
    old: list[_Batch] = []
    for k in range(first, end):
        requests = ends[k] - (ends[k - 1] if k else 0)
        old.append(_Batch(requests, max(0, alive[since][k]), max(0, alive[-1][k])))
    if len(old) < thresholds.AGED_BATCHES:
        return cache
    if _is_empty(old):
        return replace(cache, is_settled=True)
    answer = _answer(old, first)
    return answer if answer.fate is Fate.KEPT else cache


def _has_grown(
    ends: Sequence[int], alive: Sequence[Sequence[int]], older: Sequence[int], first: int
) -> bool:
    """Return whether what is older than batch ``first`` has grown since: a buffer, a table.

    What was there before the first request may be given back meanwhile, as what a start needs.
    """
    if not older or first >= len(ends):
        return False
    grown = max(0, older[-1] - older[first])
    grown += max(0, sum(alive[-1][:first]) - sum(alive[first][:first]))
    return grown >= ends[-1] - ends[first]


def _first_after(ends: Sequence[int], requests: float) -> int:
    """Return the first batch that begins at that request or after it."""
    for i, end in enumerate(ends):
        begin = ends[i - 1] if i else 0
        if begin >= requests or end > ends[-1]:
            return i
    return len(ends)


def _batches(
    ends: Sequence[int], alive: Sequence[Sequence[int]], first: int, patience: int, settled: int
) -> list[_Batch]:
    """Return the batches from ``first`` on that are old enough to have lost what they lose."""
    found: list[_Batch] = []
    for k in range(first, len(ends)):
        aged = settled if k <= settled else bisect_left(ends, ends[k] + patience)
        if aged >= len(ends):
            break
        requests = ends[k] - (ends[k - 1] if k else 0)
        if requests > 0:
            found.append(_Batch(requests, max(0, alive[aged][k]), max(0, alive[-1][k])))
    return found


def _facts(batches: Sequence[_Batch], first: int) -> Ages:
    now = sum(batch.now for batch in batches)
    at_first = sum(batch.at_first for batch in batches)
    return Ages(
        Fate.UNKNOWN,
        kept_bytes=now,
        batches=len(batches),
        requests=sum(batch.requests for batch in batches),
        lost_bytes=max(0, at_first - now),
        first=first,
    )


def _answer(batches: Sequence[_Batch], first: int) -> Ages:
    facts = _facts(batches, first)
    now, at_first = facts.kept_bytes, facts.kept_bytes + facts.lost_bytes
    if facts.requests < thresholds.AGED_REQUESTS or not at_first:
        return facts
    if now < thresholds.AGED_LOST * at_first:
        return replace(facts, fate=Fate.LOST)
    # One batch may lose what one connection had held open for so long.
    largest_loss = max(batch.at_first - batch.now for batch in batches)
    if now + largest_loss < thresholds.AGED_KEPT * at_first:
        return facts
    if _keeps_all(batches):
        return _with_rate(facts, batches, Fate.KEPT)
    if _keeps_some(batches):
        return _with_rate(facts, batches, Fate.KEPT_NOW_AND_THEN)
    return facts


def _keeps_all(batches: Sequence[_Batch]) -> bool:
    """Return whether each batch keeps something, about as much as others, and in either half."""
    keeping = sum(batch.now > 0 for batch in batches)
    if len(batches) < 2 or keeping < thresholds.AGED_KEEPING * len(batches):
        return False
    rates = [batch.rate for batch in batches]
    # Where most of it is in a few batches, it is what those few keep that leaks. One alone is what
    # was done once, as when the agent loads what it needs.
    is_in_few = sum(rates) - max(rates) > 2 * median(rates) * len(rates)
    return _are_alike(rates) and _is_level(rates) and not (is_in_few and _keeps_some(batches))


def _are_alike(sizes: Sequence[float]) -> bool:
    """Return whether most are between half and twice the usual one."""
    usual = median(sizes)
    alike = sum(usual / 2 <= size <= usual * 2 for size in sizes)
    return alike >= thresholds.AGED_ALIKE * len(sizes)


def _is_level(rates: Sequence[float]) -> bool:
    """Return whether the second half is as large as the first, but for single large ones."""
    middle = len(rates) // 2
    earlier, later = median(rates[:middle]), median(rates[middle:])
    return later > 0 and later >= thresholds.SECOND_HALF_PACE * earlier


def _keeps_some(batches: Sequence[_Batch]) -> bool:
    """Return whether batches keep something again and again, all over the run, of one size.

    Beside it a batch may keep a little, such as the time as text.
    """
    kept = sorted(batch.now for batch in batches if batch.now > 0)
    if not kept:
        return False
    least = kept[len(kept) * 9 // 10] * thresholds.AGED_EVENT_SHARE
    events = [size for size in kept if size >= least]
    if len(events) < thresholds.AGED_EVENTS or not _are_alike(events):
        return False
    if _has_ended(batches, least):
        return False
    return all(any(batch.now >= least for batch in part) for part in _parts(batches))


def _has_ended(batches: Sequence[_Batch], least: float) -> bool:
    """Return whether events came until some time and not since, as of a table that takes no more.

    Longer than twice the longest time between two of them.
    """
    longest = since = 0
    for batch in batches:
        since += batch.requests
        if batch.now >= least:
            longest, since = max(longest, since), 0
    return since > 2 * longest


def _parts(batches: Sequence[_Batch]) -> list[Sequence[_Batch]]:
    """Return as many parts of the run as there have to be events in, of about equal requests."""
    count = thresholds.AGED_PARTS
    total = sum(batch.requests for batch in batches)
    parts: list[list[_Batch]] = [[] for _ in range(count)]
    done = 0
    for batch in batches:
        parts[min(count - 1, done * count // total)].append(batch)
        done += batch.requests
    return list(parts)


def _with_rate(facts: Ages, batches: Sequence[_Batch], fate: Fate) -> Ages:
    """Return the answer with its rate: the usual one, or that of all events.

    The interval is that of a fifth of the batches at either end, or one event more or less.
    """
    if fate is Fate.KEPT:
        rates = sorted(batch.rate for batch in batches)
        edge = len(rates) // 5
        rate, low, high = median(rates), rates[edge], rates[-1 - edge]
    else:
        rate, one = _rate_of_events(batches)
        low, high = max(0.0, rate - one), rate + one
    low, high = min(low, rate), max(high, rate)
    return replace(facts, fate=fate, per_request=rate, low=low, high=high)


def _rate_of_events(batches: Sequence[_Batch]) -> tuple[float, float]:
    """Return what is kept per request, and what one event makes of it.

    The slope of the sum over all requests so far: the share of the time before the first event and
    after the last depends on where the run was cut, and hardly changes it.
    """
    least = max(batch.now for batch in batches) * thresholds.AGED_EVENT_SHARE
    size = median([batch.now for batch in batches if batch.now >= least])
    requests, kept = [0], [0]
    for batch in batches:
        requests.append(requests[-1] + batch.requests)
        kept.append(kept[-1] + batch.now)
    return linear_regression(requests, kept).slope, size / requests[-1]


def largest_leak_missed(ages: Ages) -> float | None:
    """Return the growth per request that would have shown; ``None`` where none would have."""
    if ages.fate is Fate.UNKNOWN or not ages.requests:
        return None
    return max(1.0, ages.kept_bytes) / ages.requests
