"""Requests and seconds until the verdict on live services, what sampling costs, and what simple
methods say.

    python benchmarks/service_verdict.py [--runs N] [--requests N]

Drives ``sample_apps/services`` on loopback; needs Linux, a C compiler, and Flask with gunicorn for
the shop; Node is left out where it is not here. The simple methods judge the very same series of
resident memory. Without ``--requests`` there may be more than 5,000, where readings are dear; with
it there may not.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.growth_matrix import SIMPLE
from pytest_leakguard.services import launch, load
from pytest_leakguard.services import measure as measurement
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.timeline import Timeline

APPS = Path(__file__).parents[1] / "sample_apps" / "services"


@dataclass(frozen=True, slots=True)
class Case:
    """One service, with what it really leaks per request."""

    name: str
    target: ServiceTarget
    leak_bytes: float
    live_heap: bool = True


def measure(case: Case, budget: int | None) -> tuple[Timeline, float]:
    """The timeline of one run, and its seconds without start and stop."""
    heap = HeapReader(is_active=case.live_heap)
    target = case.target
    if case.live_heap:
        added = heap.environment(target.argv, dict(target.env), target.cwd)
        target = replace(target, env=(*target.env, *added.items()))
    running = launch.start(target)
    try:
        work = load.plan(["GET /orders/7"], running.url)
        started = time.monotonic()
        timeline = measurement.measure(
            running, work, measurement.preset_for(work, budget), 300.0, heap
        )
        return timeline, time.monotonic() - started
    finally:
        running.stop()
        heap.close()


def cases(server: Path) -> Iterator[Case]:
    """From 64 bytes to 10 KiB per request, and clean."""
    c = {
        mode: ServiceTarget((str(server), "{port}", mode))
        for mode in ("leak", "slow_leak", "fixed", "cache")
    }
    gunicorn = (sys.executable, "-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:{port}", "shop:app")
    ready = "http://127.0.0.1:{port}/healthz"
    shop = {
        mode: ServiceTarget(gunicorn, ready, cwd=APPS, env=(("SHOP", mode),))
        for mode in ("leak", "slow_leak", "fixed", "cache")
    }
    if shutil.which("node"):  # V8 is not judged without its live heap
        script = str(APPS / "server.js")
        yield Case("Node, 1 KiB", ServiceTarget(("node", script, "{port}", "leak")), 1100)
        yield Case("Node, clean", ServiceTarget(("node", script, "{port}", "fixed")), 0)
    for live_heap in (True, False):
        yield Case("C, 64 B", c["slow_leak"], 64, live_heap)
        yield Case("C, 1 KiB", c["leak"], 1040, live_heap)
        yield Case("C, clean", c["fixed"], 0, live_heap)
        yield Case("C, cache", c["cache"], 0, live_heap)
        yield Case("shop, 64 B", shop["slow_leak"], 72, live_heap)
        yield Case("shop, 10 KiB", shop["leak"], 10273, live_heap)
        yield Case("shop, clean", shop["fixed"], 0, live_heap)
        yield Case("shop, cache", shop["cache"], 0, live_heap)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--requests", type=int, default=None)
    options = parser.parse_args()
    compiler = shutil.which("cc") or sys.exit("needs a C compiler")
    right: Counter[str] = Counter()
    false: Counter[str] = Counter()
    leaks = clean = 0
    with tempfile.TemporaryDirectory() as folder:
        server = Path(folder) / "server"
        subprocess.run(
            [compiler, "-O0", "-g", "-o", str(server), str(APPS / "server.c")], check=True
        )
        print(
            f"{'service':<14}{'heap':>5}{'requests':>10}{'seconds':>9}{'per request':>13}", end=""
        )
        print(f"{'samples':>9}{'per sample':>12}{'overhead':>10}  verdict")
        for case in cases(server):
            found = [measure(case, options.requests) for _ in range(options.runs)]
            _print(case, found)
            for timeline, _ in found:
                leaks, clean = leaks + (case.leak_bytes > 0), clean + (case.leak_bytes == 0)
                for name, says_leak in _answers(timeline):
                    (right if case.leak_bytes else false)[name] += says_leak
    print(f"\n{'method, on the same series':<32}{'leaks found':>14}{'false alarms':>15}")
    for name in (*SIMPLE, "leakguard"):
        print(f"{name:<32}{right[name]:>8} of {leaks:<3}{false[name]:>9} of {clean}")


def _answers(timeline: Timeline) -> Iterator[tuple[str, bool]]:
    pages = [
        (x, y)
        for x, y in zip(timeline.requests, timeline.series["private_bytes"], strict=True)
        if y is not None
    ]
    yield from ((name, ask(pages[1:])) for name, ask in SIMPLE.items())
    yield "leakguard", timeline.judge().shape == "leak"


def _print(case: Case, found: list[tuple[Timeline, float]]) -> None:
    timelines = [timeline for timeline, _ in found]
    requests = statistics.median(timeline.done for timeline in timelines)
    samples = statistics.median(len(timeline.requests) for timeline in timelines)
    sampling_s = statistics.median(timeline.sampling_s for timeline in timelines)
    working_s = statistics.median(timeline.working_s for timeline in timelines)
    verdicts = Counter(timeline.judge().shape for timeline in timelines)
    print(
        f"{case.name:<14}{'yes' if case.live_heap else 'no':>5}{requests:>10.0f}"
        f"{statistics.median(seconds for _, seconds in found):>9.2f}"
        f"{1e3 * working_s / requests:>10.2f} ms"
        f"{samples:>9.0f}{1e3 * sampling_s / samples:>9.2f} ms"
        f"{statistics.median(timeline.overhead for timeline in timelines):>10.1%}"
        f"  {', '.join(f'{number}x {shape}' for shape, number in verdicts.most_common())}",
        flush=True,
    )


if __name__ == "__main__":
    main()
