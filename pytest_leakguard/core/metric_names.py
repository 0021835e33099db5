"""The names of all counters and series, as report.json and recorded files write them."""

from __future__ import annotations

from enum import StrEnum


class MetricName(StrEnum):
    """What was counted: the first group in this process, the second in services and recordings."""

    BLOCKS = "blocks"
    HEAP_BYTES = "heap_bytes"
    PRIVATE_BYTES = "private_bytes"
    THREADS = "threads"
    MAPPED_BYTES = "mapped_bytes"
    FILE_DESCRIPTORS = "file_descriptors"
    CHILD_PROCESSES = "child_processes"
    TEMPORARY_FILES = "temporary_files"
    ASYNCIO_TASKS = "asyncio_tasks"

    # Services and recordings use the short names of ps, lsof and psrecord.
    ANONYMOUS = "anon"
    HEAP = "heap"
    PRIVATE_DIRTY = "private_dirty"
    UNIQUE_SET = "uss"
    PROPORTIONAL_SET = "pss"
    RESIDENT_SET = "rss"
    MEMORY_USED = "memused"
    DESCRIPTORS = "fds"
    PROCESSES = "procs"
    SHARED_FILES = "shared_files"


SERVICE_COUNTERS = (MetricName.DESCRIPTORS, MetricName.THREADS, MetricName.PROCESSES)
"""Series of a service that count resources one by one; all its other series are bytes."""
