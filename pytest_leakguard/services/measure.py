"""Drives a service, samples it between requests, and stops as soon as the evidence allows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.core.text import plural, quantity
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.answers import Judgement, Leaking, Undecided
from pytest_leakguard.growth.filling import filling, has_no_end, is_emptied
from pytest_leakguard.growth.metrics import Source
from pytest_leakguard.growth.stopping import (
    CAREFUL,
    DEFAULT,
    AgedLook,
    Preset,
    may_stop,
    may_stop_by_age,
    missing,
    next_checkpoint,
)
from pytest_leakguard.services import sampling_schedule
from pytest_leakguard.services.launch import Service
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.load import LoadCommand, RequestFailed, Work
from pytest_leakguard.services.sampler import Inventory, Sampler
from pytest_leakguard.services.timeline import Timeline

_DYING_S = 1.0
"""Upper limit of the time that is given to a service to end after its requests fail, in seconds."""
_DYING_CHECK_S = 0.02
"""Time between two checks whether it has ended, in seconds."""
_EXTENDED_FROM = 8
"""A run may be extended after this part of it, an eighth; by then it is known well enough what a
request takes and what a reading does."""
_MOST_RESTS = 3
"""Rests of some seconds that a run may take; then it goes on until its budget."""
_ASKED_AGAIN = 1.5
"""Requests after which containers are asked again, as a multiple of those at the last question."""
_SCARCE = (MetricName.DESCRIPTORS, MetricName.THREADS, MetricName.PROCESSES)
"""Counters that reach a limit of the system's long before memory does."""
_BATCHES_AFTER_REST = 4
"""Batches after a rest at the end of a run."""
PROGRESS_EVERY_S = 0.5
"""Least time between two reports of progress, in seconds."""

Progress = Callable[[Timeline, Preset], None]


def no_progress(timeline: Timeline, preset: Preset) -> None:
    """Show nothing."""


def preset_for(work: Work, budget: int | None) -> Preset:
    """Return how sure to be before stopping.

    ``budget`` is the most requests there may be; without one there may be more than usual, where
    readings are dear.
    """
    preset = DEFAULT if work.is_fixed_set else CAREFUL
    return replace(preset, max_requests=budget or preset.max_requests, is_elastic=not budget)


def with_heap(preset: Preset, heap: HeapReader) -> Preset:
    """Return the preset where the live heap is read, which shows smaller leaks."""
    if not heap.is_active or not preset.stops_early:
        return preset
    return replace(preset, min_leak_bytes=thresholds.MIN_LEAK_HEAP_BYTES)


def measure(
    service: Service,
    work: Work,
    preset: Preset,
    timeout_s: float,
    heap: HeapReader,
    progress: Progress = no_progress,
) -> Timeline:
    """Drive ``service`` until the verdict holds, the budget or the time is used, or it breaks."""
    sampler = Sampler(service, heap, preset.max_requests)
    started = time.monotonic()
    timeline = sampler.timeline
    timeline.batches.patience *= work.concurrency
    before = None
    try:
        sampler.begin()
        before = sampler.inventory()
        sampler.note_processes()
        preset = with_heap(preset, heap)
        timeline.stopped = _Loop(sampler, work, preset, started + timeout_s, progress).run()
    except RequestFailed as failed:
        timeline.failure = str(failed)
        # The connection broke: it may be dying, and its end says more than the request.
        if isinstance(failed.__cause__, OSError):
            _await_death(service)
    finally:
        work.close()
        timeline.per = work.per
        timeline.duration_s = time.monotonic() - started
    trouble = service.trouble()
    if trouble:
        timeline.failure = f"{trouble}; {timeline.failure}" if timeline.failure else trouble
    elif before is not None:
        _note_gains(timeline, before, sampler.inventory())
    timeline.replaced = list(sampler.ended())
    timeline.are_ages_broken |= bool(timeline.replaced)
    return timeline


def _await_death(service: Service) -> None:
    """Give the service the time to end: requests fail before its processes are gone."""
    deadline = time.monotonic() + _DYING_S
    while time.monotonic() < deadline and not service.trouble():
        time.sleep(_DYING_CHECK_S)


def _note_gains(timeline: Timeline, before: Inventory, after: Inventory) -> None:
    timeline.mappings = _gained(before.mappings, after.mappings)
    timeline.descriptors = _gained(before.descriptors, after.descriptors)
    timeline.page_cache_bytes = max(0, after.page_cache - before.page_cache)
    timeline.private_dirty_bytes = after.private_dirty - before.private_dirty


def _gained(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return what each kind has gained, the largest gain first."""
    # A kind may be new, or gone.
    gains = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in {*before, *after}}
    ordered = sorted(gains.items(), key=lambda item: -item[1])
    return {kind: gain for kind, gain in ordered if gain > 0}


class _Loop:
    """Requests, samples and checkpoints, until there is a reason to stop."""

    def __init__(
        self, sampler: Sampler, work: Work, preset: Preset, deadline: float, progress: Progress
    ) -> None:
        self._sampler, self._work, self._preset = sampler, work, preset
        self._deadline = deadline
        self._progress, self._reported_at = progress, time.monotonic()
        self._timeline = sampler.timeline
        self._asked = preset.max_requests
        self._checkpoint_at = next_checkpoint(0)
        self._aged: list[AgedLook] = []
        self._search_at = 0
        self._asked_at: int | None = None
        self._has_no_end = self._is_emptied = False
        self._is_lost = False
        self._ended_at: dict[int, float] = {}
        self._rests = 0

    def run(self) -> str:
        """Send requests and return why it stopped."""
        while True:
            is_last = self._requests()
            self._report()
            stopped = self._why_stop(is_last)
            if stopped:
                return stopped

    def _requests(self) -> bool:
        """Send one batch, take the sample after it, and return whether it was the last."""
        timeline, done = self._timeline, self._timeline.done
        self._extend()
        self._sampler.limit = self._preset.max_requests
        goal = min(self._sampler.next_sample(done), self._preset.max_requests)
        before, liveness_s = time.monotonic(), timeline.liveness_s
        batch = self._batch(done, goal)
        now = time.monotonic()
        # Liveness checks are made within the batch, but are not the service's work.
        timeline.working_s += now - before - (timeline.liveness_s - liveness_s)
        timeline.elapsed_s = now - self._sampler.started
        # Only the first batch shows how many requests a run of the command sends.
        if isinstance(self._work, LoadCommand) and len(timeline.requests) == 1:
            self._preset = _for_batches(self._preset, batch)
        done += batch
        self._ended_at[done] = now
        is_last = done >= self._preset.max_requests or now >= self._deadline
        if self._sampler.service.trouble(self._sampler.sample(done, is_last)):
            raise RequestFailed(f"after request {done}")
        return is_last

    def _batch(self, done: int, goal: int) -> int:
        """Send the requests up to ``goal`` with liveness checks between: processes come and go."""
        if isinstance(self._work, LoadCommand):
            return self._work.run(done, goal - done)
        at, step = done, sampling_schedule.liveness_check_after(self._preset.max_requests)
        while at < goal:
            if at > done:
                self._sampler.check_liveness(at)
                if time.monotonic() >= self._deadline:
                    break
            at += self._work.run(at, min(step, goal - at))
        return at - done

    def _extend(self) -> None:
        """Where readings are dear, send more requests rather than take a larger share of the time.

        Asked again at each sample of the first half: readings become dearer while the heap grows.
        """
        done, preset = self._timeline.done, self._preset
        is_time = self._asked / _EXTENDED_FROM <= done <= preset.max_requests / 2
        is_counted = self._timeline.batches.ends and not self._timeline.are_ages_broken
        if not preset.is_elastic or not is_time or is_counted:
            return
        per_request_s = self._timeline.working_s / done
        cost_s = self._sampler.reading_cost_s
        limit = sampling_schedule.extended(self._asked, per_request_s, cost_s)
        self._preset = replace(preset, max_requests=max(limit, 2 * done))

    def _report(self) -> None:
        if time.monotonic() - self._reported_at > PROGRESS_EVERY_S:
            self._reported_at = time.monotonic()
            self._progress(self._timeline, self._preset)

    def _why_stop(self, is_last: bool) -> str:
        done = self._timeline.done
        aged = self._stop_by_age(is_last)
        if aged:
            self._timeline.checkpoints.append(self._timeline.checkpoint())
            self._timeline.has_ended_early = True
            return aged
        if self._are_workers_recycled():
            count = thresholds.RECYCLED_PROCESSES
            return f"its processes come and go: after {done} requests {count} and more had ended"
        if not is_last and not self._is_checkpoint_due(done):
            return ""
        self._checkpoint_at = next_checkpoint(done)
        if not is_last and not _may_decide(self._timeline, self._preset):
            return ""
        stopped = self._checkpoint(is_last)
        if not stopped and is_last and time.monotonic() >= self._deadline:
            return f"the time is used after {done} of {self._preset.max_requests} requests"
        if not stopped and done >= self._preset.max_requests:  # where the last samples are missing
            return f"the budget of {done} requests is used"
        return stopped

    def _stop_by_age(self, is_last: bool) -> str:
        """Say why what became of the batches is answer enough; empty when the run goes on."""
        timeline = self._timeline
        if is_last or not self._preset.stops_early or not timeline.batches.ends:
            return ""
        is_old = timeline.batches.ends[-1] < timeline.done  # somebody was not counted just now
        if timeline.are_ages_broken or is_old or list(self._sampler.ended()):
            return ""
        look = self._look()
        stopped = may_stop_by_age(self._aged, self._preset)
        if not stopped and self._is_hidden_by_connections(look):
            self._settle()
            for _ in range(thresholds.AGED_QUIET_LOOKS):  # it has stood still for seconds
                self._look()
            return may_stop_by_age(self._aged, self._preset)
        return "" if stopped and look.is_leak() and self._is_too_young(look) else stopped

    def _look(self) -> AgedLook:
        """See what has become of the batches."""
        started, timeline = time.monotonic(), self._timeline
        look = AgedLook(timeline.done, timeline.ages(), timeline.stands_still())
        timeline.is_for_good = self._keeps_for_good(look)
        is_for_good, is_emptied_too = timeline.is_for_good, self._is_emptied
        self._aged.append(replace(look, is_for_good=is_for_good, is_emptied=is_emptied_too))
        # Part of each reading: what is set aside for checkpoints is left to them.
        timeline.reading_s += time.monotonic() - started
        return look

    def _is_hidden_by_connections(self, look: AgedLook) -> bool:
        """Return whether it could be quiet by now, but for connections that are still open."""
        is_late = look.requests >= thresholds.AGED_SETTLED_REQUESTS
        is_open = not look.is_leak() and self._are_sockets_open()
        return is_late and self._rests == 0 and is_open

    def _is_too_young(self, look: AgedLook) -> bool:
        """Rest where what leaks is so young that a timer may still give it back.

        What is kept for good has no timer, but connections that are open beside it add to its size.
        """
        is_kept = self._is_lost or self._has_no_end
        if is_kept and not self._are_sockets_open():
            return False
        leaks = [ages for ages in look.ages.values() if ages.is_leak]
        ends = self._timeline.batches.ends
        return self._rest(max(ends[ages.first + ages.batches // 2] for ages in leaks))

    def _rest(self, middle: int) -> bool:
        """Rest until half of what is kept is old enough, from that request on; false: it is."""
        since = self._ended_at.get(middle, 0.0)
        age_s = time.monotonic() - since
        if self._are_sockets_open() and age_s < thresholds.AGED_OPEN_SECONDS:
            return self._settle()
        if age_s >= thresholds.AGED_SECONDS:
            return False
        self._rests += 1
        if self._rests <= _MOST_RESTS:
            time.sleep(thresholds.AGED_SECONDS - age_s)
            self._search_at = 0
        return True

    def _are_sockets_open(self) -> bool:
        return self._sampler.gained_sockets() >= thresholds.COUNTER_FLOOR

    def _settle(self) -> bool:
        """Rest until all connections that are open now have been idle for too long."""
        self._rests += 1
        if self._rests <= _MOST_RESTS:
            time.sleep(thresholds.AGED_OPEN_SECONDS)
            self._sampler.settle()
            self._search_at = 0
        return True

    def _keeps_for_good(self, look: AgedLook) -> bool:
        """Return whether what leaks can never be given back; asked now and then only."""
        heap = look.ages.get(MetricName.HEAP_BYTES)
        before = self._aged[1 - thresholds.AGED_LOOKS :]
        is_seen = len(before) == thresholds.AGED_LOOKS - 1 and all(one.is_leak() for one in before)
        if heap is None or not heap.is_leak or not is_seen:
            return False
        if self._grows_without_end(look.requests):
            return True
        if look.requests < self._search_at:
            return False
        self._search_at = self._next_search(look.requests)
        held = self._sampler.held(heap)
        self._is_lost = held.lost_share >= thresholds.AGED_LOST_SHARE
        is_chain = held.chained_share >= thresholds.AGED_CHAINED_SHARE
        return self._is_lost or (is_chain and look.requests >= thresholds.AGED_CHAINED_REQUESTS)

    @staticmethod
    def _next_search(requests: int) -> int:
        later = math.ceil(thresholds.AGED_LOST_AGAIN * requests)
        first_chain = thresholds.AGED_CHAINED_REQUESTS
        return min(later, first_chain) if requests < first_chain else later

    def _grows_without_end(self, requests: int) -> bool:
        """Return whether containers that never give back have taken an entry with each request.

        What says how much it will hold is noted, as until then nothing is decided.
        """
        if self._has_no_end:
            return True
        if self._asked_at is None:
            self._sampler.grown()
            self._asked_at = requests
            return False
        since = requests - self._asked_at
        if since < thresholds.AGED_ASKED_FROM or requests < 2 * thresholds.AGED_ASKED_FROM:
            return False
        # Each answer takes some passes over the heap, so that the questions become rarer.
        found = self._timeline.filling
        is_full = found is None or requests >= found.shows_at
        if not is_full or since < (_ASKED_AGAIN - 1) * self._asked_at:
            return False
        self._asked_at = requests
        grown = self._sampler.grown()
        self._has_no_end = has_no_end(grown, since, requests)
        self._is_emptied = is_emptied(grown, since)
        if not self._has_no_end:
            self._timeline.filling = filling(grown, since, requests)
        return self._has_no_end

    def _checkpoint(self, is_last: bool) -> str:
        """Judge what there is, and return why to stop; empty when the run goes on."""
        checkpoints, done = self._timeline.checkpoints, self._timeline.done
        with self._sampler.at_checkpoint():
            checkpoints.append(self._timeline.checkpoint())
            sure_after = self._aged[-1].sure_after() if self._may_be_full_soon() else 0
            stopped, self._preset = _next_step(checkpoints, self._preset, is_last, sure_after)
        if stopped and not is_last and self._may_be_full_soon():
            stopped = ""
        if stopped and self._sees_leak() and self._may_be_closed_soon():
            stopped = ""
            if is_last:  # what is closed meanwhile shows in some more batches
                more = done + _BATCHES_AFTER_REST * sampling_schedule.BATCH
                self._preset = replace(self._preset, max_requests=more)
        if self._sees_leak():  # only this much later can it be confirmed
            confirmed_at = math.ceil(thresholds.CONFIRMED_AFTER * done)
            self._checkpoint_at = max(self._checkpoint_at, confirmed_at)
        return stopped

    def _may_be_full_soon(self) -> bool:
        """Return whether what is kept so far may be lost further on, or be too little as yet."""
        overall = self._timeline.checkpoints[-1].overall
        if isinstance(overall, Leaking) and overall.metric.unit != "bytes":
            return False
        look = self._aged[-1] if self._aged else None
        is_scarce = any(self._timeline.gained(name) >= thresholds.POOL_SIZE for name in _SCARCE)
        return look is not None and look.is_leak() and not look.is_sure() and not is_scarce

    def _may_be_closed_soon(self) -> bool:
        """Rest where what leaks are connections that have not been open for long."""
        if self._rests >= _MOST_RESTS or time.monotonic() >= self._deadline:
            return False
        ends = [int(done) for done in self._timeline.requests]
        return self._are_sockets_open() and self._rest(ends[len(ends) // 2])

    def _sees_leak(self) -> bool:
        """Return whether the last checkpoint saw a leak."""
        checkpoints = self._timeline.checkpoints
        return bool(checkpoints) and checkpoints[-1].shape is Shape.LEAK

    def _are_workers_recycled(self) -> bool:
        has_many_ended = self._sampler.ended_count() >= thresholds.RECYCLED_PROCESSES
        return has_many_ended and not self._sees_leak()

    def _is_checkpoint_due(self, done: int) -> bool:
        """Return whether one is due and can be afforded, or confirms a leak and ends the run."""
        if done < self._checkpoint_at:
            return False
        if self._timeline.readings < thresholds.FIRST_CHECKPOINT_READINGS:
            return False
        return self._sees_leak() or self._sampler.can_afford_checkpoint()


def _may_decide(timeline: Timeline, preset: Preset) -> bool:
    """Return whether a checkpoint can be one of the two that end the run, as it is dear."""
    if not preset.stops_early:
        return False
    private = timeline.gained(MetricName.PRIVATE_BYTES)
    memory = max(private, timeline.gained(MetricName.HEAP_BYTES))
    counters = max(timeline.gained(name) for name in SERVICE_COUNTERS)
    # Half of what is asked for, as this one may be the first of two.
    is_quiet_possible = 2 * timeline.done >= timeline.quiet_after(preset.min_leak_bytes)
    is_leak_possible = memory >= preset.allowance_bytes / 2 or counters >= thresholds.POOL_SIZE / 2
    return is_quiet_possible or is_leak_possible


def _next_step(
    checkpoints: list[Judgement], preset: Preset, is_last: bool, sure_after: int = 0
) -> tuple[str, Preset]:
    """Return why to stop, or nothing and the preset to go on with.

    ``sure_after`` are the requests after which growth that is kept is a leak whoever holds it.
    """
    judgement = checkpoints[-1]
    stopped = may_stop(checkpoints, preset)
    is_open = _may_fill_up(judgement) or _may_fragment(judgement)
    if not stopped or (is_open and not is_last):
        return "", preset
    # It could end here, but the answer may still turn: once more, to where it cannot.
    longer = _longer(judgement, preset, sure_after)
    return ("", longer) if longer else (stopped, preset)


def _may_fill_up(judgement: Judgement) -> bool:
    """Return whether what grows is a counter that may be a pool, of connections or threads."""
    overall = judgement.overall
    if not isinstance(overall, Leaking) or overall.metric.unit == "bytes":
        return False
    return overall.rise < thresholds.POOL_SIZE


def _may_fragment(judgement: Judgement) -> bool:
    """Return whether resident memory grows while the live heap is quiet."""
    if isinstance(judgement.overall, Leaking):
        return False
    for trend in judgement.trends:
        if trend.metric.source is Source.RESIDENT and trend.low > thresholds.MIN_LEAK_BYTES:
            return True
    return False


def _for_batches(preset: Preset, batch: int) -> Preset:
    """Return the preset for a load command: each run is one sample, and enough are needed."""
    preset = replace(preset, is_elastic=False)
    if batch == 1:
        most = min(preset.max_requests, thresholds.UNCOUNTED_BATCHES)
        return replace(preset, max_requests=most)
    most = max(preset.max_requests, thresholds.LOAD_BATCHES * batch)
    return replace(preset, max_requests=most)


def _longer(judgement: Judgement, preset: Preset, sure_after: int = 0) -> Preset | None:
    """Return a preset that runs to where the answer will be; ``None`` where this is it.

    Growth that began late is followed on, a small one is to be confirmed; both only once.
    """
    overall, need = judgement.overall, 0
    if preset.name == "extended":
        return None
    if isinstance(overall, Undecided) and overall.counted_in == "requests":
        # No further than twice, or a late start would double the run again and again.
        need = min(overall.need, 2 * preset.max_requests)
    elif sure_after <= 2 * preset.max_requests and sure_after > preset.max_requests:
        need = sure_after
    elif isinstance(overall, Leaking) and overall.metric.unit == "bytes":
        need = 2 * preset.max_requests if overall.rise < thresholds.CREEP_BYTES else 0
    if need <= preset.max_requests:
        return None
    return replace(preset, name="extended", max_requests=need)


def line(timeline: Timeline, preset: Preset) -> str:
    """``1,024 requests, 812/s, heap_bytes +1.2 MiB, leak so far; 8 MiB of growth ...``."""
    pace = timeline.done / timeline.elapsed_s if timeline.elapsed_s > 0 else 0.0
    name, unit, so_far = str(MetricName.PRIVATE_BYTES), "bytes", ""
    if timeline.checkpoints:
        last = timeline.checkpoints[-1]
        name, unit = last.overall.metric.name, last.overall.metric.unit
        so_far = f", {last.shape} so far"
    gained = timeline.gained(name)
    growth = f"{name} {'+' if gained >= 0 else '-'}{quantity(abs(gained), unit)}{so_far}"
    needs = missing(timeline.checkpoints, timeline.done, preset)
    what = plural(timeline.per)
    return f"{timeline.done:,} {what}, {pace:,.0f}/s, {growth}; needs {needs}"
