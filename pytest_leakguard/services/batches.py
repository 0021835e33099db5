"""What each request batch allocated and what of it is alive, summed over the processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.ages import Ages, judge_ages
from pytest_leakguard.tracker.live import ProcessLive


@dataclass(slots=True)
class Batches:
    """Filled at the end of each batch; an epoch is a batch's number in the processes."""

    first_epoch: int = 0
    """Of the first batch."""
    patience: int = thresholds.AGED_AFTER_REQUESTS
    """Requests after its end until it is asked what a batch keeps."""
    ends: list[int] = field(default_factory=list)
    """Requests that were done at the end of each batch."""
    heap: list[list[int]] = field(default_factory=list)
    """At the end of each batch, the bytes alive in blocks of that batch and of those before."""
    mapped: list[list[int]] = field(default_factory=list)
    older_heap: list[int] = field(default_factory=list)
    """At the end of each batch, the bytes alive of what is older than all of them."""
    older_mapped: list[int] = field(default_factory=list)
    settled: int = -1
    """Number of the batch after which there was a rest, in which connections were closed."""

    def settle(self, processes: Iterable[ProcessLive]) -> None:
        """Keep what is alive after a rest, instead of what was when the last batch ended."""
        done = self.ends.pop()
        for rows in (self.heap, self.mapped, self.older_heap, self.older_mapped):
            rows.pop()
        self.add(done, processes)
        self.settled = len(self.ends) - 1

    def add(self, done: int, processes: Iterable[ProcessLive]) -> None:
        """Keep what is alive when a batch has ended after ``done`` requests."""
        count = len(self.ends) + 1
        heap, mapped, older_heap, older_mapped = [0] * count, [0] * count, 0, 0
        for process in processes:
            # A copy that a child has given back is no loss of its parent's.
            skipped = max(0, process.first_epoch + 1 - self.first_epoch)
            _add(heap, process.heap_bytes, self.first_epoch, skipped)
            _add(mapped, process.mapped_bytes, self.first_epoch, skipped)
            older_heap += sum(process.heap_bytes[: self.first_epoch])
            older_mapped += sum(process.mapped_bytes[: self.first_epoch])
        self.ends.append(done)
        self.heap.append(heap)
        self.mapped.append(mapped)
        self.older_heap.append(older_heap)
        self.older_mapped.append(older_mapped)

    def judge(self) -> dict[str, Ages]:
        """Return what became of it, by the name of the series; nothing without batches."""
        if not self.ends:
            return {}
        aged = (self.patience, self.settled)
        heap = judge_ages(self.ends, self.heap, self.older_heap, *aged)
        mapped = judge_ages(self.ends, self.mapped, self.older_mapped, *aged)
        return {MetricName.HEAP_BYTES: heap, MetricName.MAPPED_BYTES: mapped}


def _add(total: list[int], by_epoch: Sequence[int], first: int, skipped: int) -> None:
    for k in range(skipped, len(total)):
        if first + k < len(by_epoch):
            total[k] += by_epoch[first + k]
