"""Each number that judges growth decides something: a case whose answer changes when it moves.

A case gives the promised answer with the number as it is, and another one with the number a
little smaller and a little larger. Most cases are pairs: one input just inside, one just outside.
"""

from __future__ import annotations

import importlib
import math
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import pytest_leakguard
from pytest_leakguard.core.leaks import Finding, LeakKind
from pytest_leakguard.growth import thresholds

UNITS = {"KIB", "MIB"}
"""Names that are units rather than thresholds."""
KIB = 1024
MIB = 1024 * KIB
SPAN = 5000.0
PACKAGES = ("growth", "services")


class Rooms:
    """The modules of growth and services, imported anew with a number changed."""

    def __getattr__(self, name: str) -> ModuleType:
        room, _, module = name.partition("_")
        return importlib.import_module(f"pytest_leakguard.{room}.{module}")


@contextmanager
def rooms_with(number: str = "", value: Any = None) -> Iterator[Rooms]:
    """Import both rooms anew, so that values made at import follow the number too."""
    saved = {name: sys.modules.pop(name) for name in list(sys.modules) if is_of_rooms(name)}
    rooms = Rooms()
    try:
        if number:
            setattr(rooms.growth_thresholds, number, value)
        yield rooms
    finally:
        for name in list(sys.modules):
            if is_of_rooms(name):
                del sys.modules[name]
        sys.modules.update(saved)
        for package in PACKAGES:
            whole = saved.get(f"pytest_leakguard.{package}")
            if whole is not None:
                setattr(pytest_leakguard, package, whole)


def is_of_rooms(name: str) -> bool:
    return name.split(".")[:2] in [["pytest_leakguard", package] for package in PACKAGES]


@dataclass(frozen=True)
class Case:
    """What is asked, what is promised, and by which factors the number is moved."""

    ask: Callable[[Rooms], object]
    promised: object
    factors: tuple[float, ...] = (0.5, 2.0)


# Series. All run over 5,000 requests, so that a share of the run is a number of them.


def times(count: int = 401) -> list[float]:
    return [SPAN * i / (count - 1) for i in range(count)]


def through(*corners: tuple[float, float], count: int = 401) -> list[float]:
    """Straight lines through corners at shares of the run; flat before and behind them."""
    values = []
    for x in times(count):
        share = x / SPAN
        value = corners[0][1]
        for (start, low), (end, high) in pairwise(corners):
            if share >= end:
                value = high
            elif share > start:
                value = low + (high - low) * (share - start) / (end - start)
        values.append(value)
    return values


def stairs(count: int, height: float, start: float = 0.0, samples: int = 401) -> list[float]:
    """Equal stairs, evenly spread from a share of the run on."""
    values = []
    for x in times(samples):
        part = max(0.0, (x / SPAN - start) / (1 - start))
        values.append(height * int(part * count))
    return values


def metric(rooms: Rooms, **facts: Any) -> Any:
    """An exact metric that names nothing but what the case asks for."""
    plain = {"quantum": 1, "floor": 1, "settled": math.inf, "step": math.inf}
    return rooms.growth_metrics.Metric(
        "exact", rooms.growth_metrics.Source.HEAP, **{**plain, **facts}
    )


def shape(rooms: Rooms, values: Sequence[float], kind: Any) -> str:
    found = rooms.growth_classify.judge_series(times(len(values)), values, kind)
    return str(found.shape)


def tail(rooms: Rooms, values: Sequence[float], kind: Any) -> tuple[str, ...]:
    """The rules that see no growth in values that have a window each."""
    statistics = rooms.growth_statistics
    run = statistics.Run(tuple(range(len(values))), tuple(values))
    return tuple(statistics.judge_tail(run, 1.0, kind).against)


def grows(rooms: Rooms, *series: Sequence[float], kind: Any = None) -> tuple[bool, ...]:
    kind = kind or metric(rooms)
    return tuple(not tail(rooms, values, kind) for values in series)


def climbs(*rises: float) -> list[float]:
    values = [0.0]
    for rise in rises:
        values.append(values[-1] + rise)
    return values


def line(rise: float) -> list[float]:
    """24 values that rise by so much in all."""
    return [rise * i / 23 for i in range(24)]


# Which samples count.


def dropped(rooms: Rooms) -> int:
    limit = 2.0**63
    return int(rooms.growth_statistics.usable((0, 1, 2), (0, 0.6 * limit, 1.5 * limit)).dropped)


def kept_apart(rooms: Rooms) -> int:
    return len(rooms.growth_statistics.usable((0, 0.75e-9, 1.5e-9, 1), (1, 2, 3, 4)).xs)


def decided(rooms: Rooms, early: int, late: int) -> str:
    """Early samples lie in the first quarter of the run, late ones behind it."""
    requests = [1000.0 * i / early for i in range(early)]
    requests += [2000 + 3000.0 * i / (late - 1) for i in range(late)]
    found = rooms.growth_classify.judge_series(requests, [7.0] * len(requests), metric(rooms))
    return str(found.shape)


def sawtooth(rooms: Rooms) -> tuple[bool, ...]:
    """A collector that runs 30 times, and a leak beneath it."""
    requests = range(1440)
    values = [request + 4000.0 * (request % 48) / 48 for request in requests]
    run = rooms.growth_statistics.Run(tuple(map(float, requests)), tuple(values))
    kind = metric(rooms, quantum=16)
    return (rooms.growth_statistics.judge_tail(run, 1.0, kind).is_growing,)


def ramps(rooms: Rooms) -> tuple[str, ...]:
    kind = metric(rooms, settled=100, step=100)
    shapes = []
    for width in (0.07, 0.15):
        values = through((0.4, 0), (0.4 + width, 10_000), count=801)
        shapes.append(shape(rooms, values, kind))
    return tuple(shapes)


def late(rooms: Rooms) -> tuple[str, int]:
    found = rooms.growth_classify.judge_series(
        times(), through((0.76, 0), (1.0, 1000)), metric(rooms)
    )
    return str(found.shape), getattr(found, "need", 0)


# Whether a tail grows.


def by_chance(rooms: Rooms) -> tuple[bool, ...]:
    ten = climbs(*[20.0, 0.0] * 10, 0.0)
    twelve = climbs(*[20.0] * 6, -20.0, *[20.0] * 6)
    found = []
    for values in (ten, twelve):
        found.append(any("may be chance" in rule for rule in tail(rooms, values, metric(rooms))))
    return tuple(found)


def trend(rooms: Rooms) -> tuple[bool, ...]:
    """A line beneath a wave, whose neighbours fall as often as they rise."""
    found = []
    for wave in WAVES:
        values = [i + wave * (i % 2) for i in range(24)]
        rules = tail(rooms, values, metric(rooms, allows_mann_kendall=True))
        found.append(any("may be chance" in rule for rule in rules))
    return tuple(found)


WAVES = (16.0, 18.0)
"""Heights whose trend has a chance of 6e-5 and of 1.1e-4."""


def two_steps(rooms: Rooms) -> tuple[bool, ...]:
    found = []
    for large in (7, 8):
        values = climbs(*[1.0] * 5, large, *[1.0] * 5, large)
        rules = tail(rooms, values, metric(rooms))
        found.append("two steps make up most of the rise" in rules)
    return tuple(found)


def halves(rooms: Rooms, *paces: tuple[float, float]) -> tuple[bool, ...]:
    found = []
    for first, second in paces:
        values = climbs(*[100 * first] * 12, *[100 * second] * 12)
        rules = tail(rooms, values, metric(rooms))
        found.append("its halves grow at different rates" in rules)
    return tuple(found)


def interval(rooms: Rooms, wave: float) -> tuple[float, float]:
    points = [(float(i), 100.0 * i + wave * math.sin(i)) for i in range(33)]
    slope = rooms.growth_statistics.slope_of(points, 0)
    return round(slope.low, 3), round(slope.high, 3)


# What speaks against a leak.


def slowing(rooms: Rooms, *rates: tuple[float, float, float]) -> tuple[bool, ...]:
    found = []
    for second, third, last in rates:
        values = through(
            (0.0, 0),
            (0.25, 1000 * second),
            (0.5, 2000 * second),
            (0.75, 2000 * second + 1000 * third),
            (1.0, 2000 * second + 1000 * third + 1000 * last),
            count=801,
        )
        run = rooms.growth_statistics.Run(tuple(times(801)), tuple(values))
        found.append(bool(rooms.growth_statistics.is_slowing(run)))
    return tuple(found)


def stopped(rooms: Rooms, half: Sequence[float], kind: Any) -> bool:
    """Whether growth has stopped in a run whose last half is this."""
    before = [half[0]] * (len(half) - 1)
    values = (*before, *half)
    run = rooms.growth_statistics.Run(tuple(map(float, range(len(values)))), values)
    return bool(rooms.growth_statistics.has_stopped(run, kind))


def pauses(rooms: Rooms) -> tuple[bool, ...]:
    """Growth in every third sample that pauses for ten and for eleven of them."""
    found = []
    for flat in (10, 11):
        half = climbs(*[0.0, 0.0, 30.0] * 10, *[0.0] * flat)
        found.append(stopped(rooms, half, metric(rooms)))
    return tuple(found)


def ripples(rooms: Rooms) -> tuple[bool, ...]:
    found = []
    for ripple in (15.0, 25.0):
        half = climbs(*[100.0] * 40, *[ripple] * 20)
        found.append(stopped(rooms, half, metric(rooms)))
    return tuple(found)


def missing_growth(rooms: Rooms) -> tuple[bool, ...]:
    """2,000 are missing: so many floors of 900 or of 1,100."""
    half = climbs(*[100.0] * 40, *[0.0] * 20)
    return tuple(stopped(rooms, half, metric(rooms, floor=floor)) for floor in (900, 1100))


def fills_by(rooms: Rooms, name: str, *rises: float) -> tuple[bool, ...]:
    """Whether a cache that fills by so much per sample is seen to be full."""
    kind = getattr(rooms.growth_metrics, name)
    return tuple(stopped(rooms, climbs(*[rise] * 400, *[0.0] * 400), kind) for rise in rises)


# How growth that is no leak is named.


def warm_ups(rooms: Rooms) -> tuple[str, ...]:
    kind = metric(rooms, floor=100, settled=200)
    start = shape(rooms, through((0.0, 0), (0.04, 1000)), kind)
    later = shape(rooms, through((0.06, 0), (0.09, 1000)), kind)
    return start, later


def fillings(rooms: Rooms) -> tuple[str, ...]:
    kind = metric(rooms, floor=10, settled=40, step=100)
    early = shape(rooms, through((0.0, 0), (0.11, 900), (0.13, 2100), count=801), kind)
    later = shape(rooms, through((0.0, 0), (0.2, 1600), (0.22, 4200), count=801), kind)
    return early, later


def rests(rooms: Rooms, *rises: float) -> tuple[bool, ...]:
    """Whether a step of 1,000 follows a rest, where so much rose in the window before it."""
    found = []
    for rise in rises:
        points = [
            (0.0, 0.0),
            (100.0, 0.0),
            (200.0, rise),
            (300.0, rise + 500),
            (400.0, rise + 1000),
        ]
        found.append(rooms.growth_bursts._follows_a_rest(points, 2, 0.0))
    return tuple(found)


def distances(rooms: Rooms) -> tuple[bool, ...]:
    """Points that lie 30 and 60 requests before a step that takes 100."""
    near = [(0.0, 0.0), (70.0, 80.0), (100.0, 100.0), (150.0, 300.0), (200.0, 600.0)]
    far = [(0.0, 0.0), (40.0, 95.0), (100.0, 100.0), (150.0, 300.0), (200.0, 600.0)]
    follows = rooms.growth_bursts._follows_a_rest
    return follows(near, 2, 0.0), follows(far, 2, 0.0)


def steps_of(rooms: Rooms, kind: Any, *parts: tuple[float, float]) -> tuple[str, ...]:
    """Shapes of runs with a step of one size in the middle and slow filling of another before."""
    shapes = []
    for step, filling in parts:
        values = through((0.0, 0), (0.4, filling), (0.6, filling), (0.601, filling + step))
        shapes.append(shape(rooms, values, kind))
    return tuple(shapes)


def pairs(rooms: Rooms) -> tuple[str, ...]:
    kind = metric(rooms, settled=100, step=100)
    shapes = []
    for step in (420, 380):
        filling = 1000 - 2 * step
        first = (0.5, filling), (0.501, filling + step)
        second = (0.7, filling + step), (0.701, filling + 2 * step)
        values = through((0.0, 0), (0.4, filling), *first, *second)
        shapes.append(shape(rooms, values, kind))
    return tuple(shapes)


# What several series say together.


def bookkeeping(rooms: Rooms) -> tuple[str, ...]:
    named = []
    for rate in (200, 300):
        series = {"heap": [rate * x for x in times()], "fds": [5 + x for x in times()]}
        named.append(str(rooms.growth_classify.judge(times(), series).overall.metric.name))
    return tuple(named)


def beside_heap(
    rooms: Rooms, resident: Sequence[float], heap: Sequence[float], metrics: Any = None
) -> str:
    """What resident memory is called beside a live heap."""
    series = {"anon": [40 * MIB + value for value in resident], "heap": heap}
    metrics = metrics or rooms.growth_metrics.METRICS
    found = rooms.growth_classify.judge(times(), series, metrics=metrics)
    (answer,) = [trend for trend in found.trends if trend.metric.name == "anon"]
    return str(answer.shape)


def of_base(rooms: Rooms) -> tuple[str, ...]:
    """Three quarters of each rise come after warm-up: 22 % and 18 % of what there was."""
    flat = [5e6] * 401
    shapes = []
    for share in (0.22, 0.18):
        rise = share * 40 * MIB / 0.75
        shapes.append(beside_heap(rooms, through((0.0, 0), (1.0, rise)), flat))
    return tuple(shapes)


def heap_shares(rooms: Rooms) -> tuple[str, ...]:
    shapes = []
    for share in (0.22, 0.28):
        heap = through((0.3, 0), (0.45, share * 30 * MIB))
        shapes.append(beside_heap(rooms, through((0.0, 0), (1.0, 40 * MIB)), heap))
    return tuple(shapes)


def heap_paces(rooms: Rooms) -> tuple[str, ...]:
    """A live heap that is known to grow, but never called a leak."""
    metrics = rooms.growth_metrics
    quiet = (replace(metrics.HEAP, floor=1e12), metrics.RESIDENT)
    shapes = []
    for share in (0.55, 0.45):
        heap = through((0.0, 0), (1.0, share * 4 * MIB))
        shapes.append(beside_heap(rooms, through((0.0, 0), (1.0, 4 * MIB)), heap, quiet))
    return tuple(shapes)


# Kinds of reading.


def grows_by(rooms: Rooms, name: str, *rises: float) -> tuple[bool, ...]:
    """Whether a rise of so much in all is seen in that reading."""
    (kind,) = [kind for kind in rooms.services_timeline.SERVICE_METRICS if kind.name == name]
    return grows(rooms, *map(line, rises), kind=kind)


def in_process(rooms: Rooms, *rises: float) -> tuple[bool, ...]:
    return grows(rooms, *map(line, rises), kind=rooms.growth_metrics.IN_PROCESS_HEAP)


def paged(rooms: Rooms) -> tuple[bool, ...]:
    small, large = climbs(*[3.0 * KIB] * 23), climbs(*[5.0 * KIB] * 23)
    return grows(rooms, small, large, kind=rooms.growth_metrics.RESIDENT)


def detectable(rooms: Rooms) -> float:
    """KiB that a leak must reach in a run of two processes before it shows."""
    kind = rooms.growth_metrics.RESIDENT
    found = rooms.growth_classify.judge_series(times(), [7e6] * 401, kind, 2)
    return float(found.detectable_per_iteration * SPAN / KIB)


def bent(rooms: Rooms, end: float, noise: float = 0.0) -> bool:
    """Whether growth is seen to bend whose rate falls to ``end`` over the longest tail."""
    rates = [1 - (1 - end) * max(0, i - 100) / 299 for i in range(400)]
    ys = [0.0]
    for i, rate in enumerate(rates):
        ys.append(ys[-1] + rate + noise * (1 if i // 25 % 2 else -1))
    return bool(
        rooms.growth_statistics.is_bent(rooms.growth_statistics.Run(tuple(times()), tuple(ys)))
    )


def bent_windows(rooms: Rooms) -> int:
    """How many windows there are, of as many samples as a window each needs."""
    seen: list[int] = []
    statistics: Any = rooms.growth_statistics
    envelope = statistics.envelope

    def noted(run: Any, windows: int) -> Any:
        seen.append(windows)
        return envelope(run, windows)

    statistics.envelope = noted
    bent(rooms, 0.5)
    return seen[0]


def released(rooms: Rooms, fall: float) -> bool:
    """Whether a fall by so much of what was gained is that of what was there before."""
    kind = metric(rooms, floor=1)
    ys = [i + (0 if i < 200 else -fall * 200) for i in range(401)]
    run = rooms.growth_statistics.Run(tuple(times()), tuple(map(float, ys)))
    return bool(rooms.growth_statistics.without_release(run, kind.floor) is not run)


def settles(rooms: Rooms, name: str, *rises: float) -> tuple[str, ...]:
    """What a gradual rise of so much, then flat, is called."""
    kind = getattr(rooms.growth_metrics, name)
    return tuple(shape(rooms, through((0.1, 0), (0.6, rise)), kind) for rise in rises)


def bursts(rooms: Rooms, name: str, *steps: float) -> tuple[str, ...]:
    """What a step of so much beside some filling is called."""
    (kind,) = [kind for kind in rooms.growth_metrics.METRICS if kind.name == name]
    return steps_of(rooms, kind, *((step, 0.6 * step) for step in steps))


def floor_of(rooms: Rooms, runtime: str, *rises: float) -> tuple[str, ...]:
    shapes = []
    for rise in rises:
        series = {"anon": [40 * MIB + value for value in through((0.0, 0), (1.0, rise / 0.75))]}
        shapes.append(str(rooms.growth_classify.judge(times(), series, runtime=runtime).shape))
    return tuple(shapes)


def v8_young(rooms: Rooms) -> tuple[str, ...]:
    shapes = []
    for rise in (36 * MIB, 28 * MIB):
        timeline = rooms.services_timeline.Timeline(requests=times(), runtime="v8")
        resident = [40 * MIB + value for value in through((0.3, 0), (0.6, rise))]
        timeline.series = {"private_bytes": resident, "heap_bytes": [5.0 * MIB] * 401}
        shapes.append(str(timeline.judge().shape))
    return tuple(shapes)


# Workers.


def fills_up(rooms: Rooms, *kept: tuple[Callable[[float], float], Callable[[float], float]]) -> Any:
    """Whether the busiest worker shows that the other one only fills up."""
    found = []
    for busiest, other in kept:
        workers = []
        for share, holds in ((0.9, busiest), (0.1, other)):
            worker = rooms.growth_workers.Worker("1 gunicorn shop:app")
            for done in times(51):
                worker.add(done * share, {"heap_bytes": holds(done * share)})
            workers.append(worker)
        level = rooms.growth_workers.levelled(times(51), workers, "heap_bytes")
        found.append(level is not None)
    return tuple(found)


def full_after(share: float) -> Callable[[float], float]:
    """A cache of a worker with nine requests of ten, full after a share of the run."""
    return lambda done: 8192 * min(done, share * 0.9 * SPAN)


def growing(pace: float) -> Callable[[float], float]:
    return lambda done: pace * done


def full_at_once(leak: float) -> Callable[[float], float]:
    return lambda done: 8192 * min(done, 300) + leak * done


def compared_from(rooms: Rooms) -> Any:
    filling = growing(8192)
    return fills_up(rooms, (full_after(0.48), filling), (full_after(0.7), filling))


def stands_still(rooms: Rooms) -> Any:
    """Paces of the busiest that are 0.2 and 0.3 of the other's."""
    return fills_up(rooms, *((full_at_once(8192 * pace), growing(8192)) for pace in (0.2, 0.3)))


def same_size(rooms: Rooms) -> Any:
    """The other has gained 1.2 and 1.3 times what the busiest has."""
    busiest, each = full_at_once(0), 8192 * 300 / (0.1 * SPAN)
    return fills_up(rooms, *((busiest, growing(times * each)) for times in (1.2, 1.3)))


# What a reader is told, and when a run may end.


def diagnosed(rooms: Rooms, values: Sequence[float]) -> Any:
    series = {"heap": values, "rss": [9e7 + value for value in values]}
    judgement = rooms.growth_classify.judge(times(), series)
    production = rooms.growth_diagnosis.Production(limit_bytes=10**9)
    return rooms.growth_diagnosis.diagnose(judgement, times(), series, production=production)


def settled_at(rooms: Rooms) -> Any:
    return diagnosed(rooms, through((0.1, 0), (0.6, MIB))).settled_at


def marks(rooms: Rooms) -> Any:
    found = diagnosed(rooms, through((0.0, 0), (1.0, 10 * MIB))).marks
    return tuple(dict.fromkeys(mark.rate_per_s for mark in found))


def reached(rooms: Rooms) -> tuple[float, ...]:
    slope = rooms.growth_statistics.Slope(1.0, 1.0, 1.0)
    found = rooms.growth_forecasting.forecast(slope, 1.0, 100.0, 0.0)
    return found.alert.requests, found.severe.requests


def judgement(
    rooms: Rooms, kind: str, requests: int, rise: float = 0, leak: float = 0, name: str = "RESIDENT"
) -> Any:
    metric = getattr(rooms.growth_metrics, name)
    facts: dict[str, Any] = {"iterations": requests, "rise": rise, "detectable_per_iteration": leak}
    if kind == "Undecided":
        facts |= {"reason": "", "remedy": "", "counted_in": "requests", "have": 1, "need": 2}
    trend = getattr(rooms.growth_answers, kind)(metric=metric, **facts)
    return rooms.growth_answers.Judgement(trend, (trend,))


def ends(rooms: Rooms, *runs: Sequence[Any], preset: Any = None) -> tuple[bool, ...]:
    """Whether each run may end at the last of its checkpoints."""
    stopping = rooms.growth_stopping
    return tuple(bool(stopping.may_stop(run, preset or stopping.DEFAULT)) for run in runs)


def leaks(rooms: Rooms, requests: int, rise: float) -> list[Any]:
    return [judgement(rooms, "Leaking", 800, rise), judgement(rooms, "Leaking", requests, rise)]


def quiet(rooms: Rooms, before: float, last: float) -> list[Any]:
    return [
        judgement(rooms, "Stable", 1300, leak=before),
        judgement(rooms, "Stable", 1600, leak=last),
    ]


def quiet_with_heap(rooms: Rooms) -> tuple[bool, ...]:
    measure, reader = rooms.services_measure, rooms.services_live_heap.HeapReader()
    preset = measure.with_heap(rooms.growth_stopping.DEFAULT, reader)
    return ends(rooms, quiet(rooms, 30, 30), quiet(rooms, 34, 34), preset=preset)


def loop(rooms: Rooms, readings: int = 100, ended: int = 0) -> Any:
    """A loop whose sampler has taken so many readings and seen so many processes end."""
    timeline = rooms.services_timeline.Timeline(requests=times(readings))
    sampler = SimpleNamespace(
        timeline=timeline, can_afford_checkpoint=lambda: True, ended_count=lambda: ended
    )
    preset = rooms.growth_stopping.DEFAULT
    return rooms.services_measure._Loop(sampler, None, preset, 0.0, None)


def first_checkpoint(rooms: Rooms) -> tuple[bool, ...]:
    return tuple(loop(rooms, readings=count)._is_checkpoint_due(100) for count in (16, 18))


def first_requests(rooms: Rooms) -> tuple[bool, ...]:
    return tuple(loop(rooms)._is_checkpoint_due(done) for done in (49, 51))


def recycled(rooms: Rooms) -> tuple[bool, ...]:
    return tuple(loop(rooms, ended=count)._are_workers_recycled() for count in (2, 3))


def fixed_sets(rooms: Rooms) -> tuple[bool, ...]:
    load = rooms.services_load
    found = []
    for count in (19, 20, 21):
        lines = [load.parse_line(f"GET /orders/{number}") for number in range(count)]
        found.append(load.Requests(lines, "http://127.0.0.1:1", 1).is_fixed_set)
    return tuple(found)


def pools(rooms: Rooms) -> tuple[bool, ...]:
    measure = rooms.services_measure
    found = []
    for rise in (120, 136):
        leak = judgement(rooms, "Leaking", 900, rise, name="DESCRIPTORS")
        found.append(measure._may_fill_up(leak))
    return tuple(found)


def creeps(rooms: Rooms) -> tuple[bool, ...]:
    measure, preset = rooms.services_measure, rooms.growth_stopping.DEFAULT
    found = []
    for rise in (240 * KIB, 272 * KIB):
        leak = judgement(rooms, "Leaking", 900, rise, name="HEAP")
        found.append(measure._longer(leak, preset) is not None)
    return tuple(found)


def own_processes(rooms: Rooms) -> int:
    """Of two processes that have ended, those seen over two and over three moments."""
    service = rooms.services_launch.Service(os.getpid(), 0, "service")
    reader = rooms.services_live_heap.HeapReader(is_active=False)
    sampler = rooms.services_sampler.Sampler(service, reader, 100)
    for moment in range(4):
        sampler._moment = moment
        for born, seen_over in ((1, 2), (2, 3)):
            if moment <= seen_over:
                sampler._note(os.getpid(), born, 10 * moment)
    sampler._moment = 5
    return int(sampler.ended_count())


def batches(rooms: Rooms, size: int) -> int:
    preset = rooms.growth_stopping.DEFAULT
    return int(rooms.services_measure._for_batches(preset, size).max_requests)


def python_objects(rooms: Rooms) -> tuple[bool, ...]:
    gating = []
    for size in (60, 68):
        found = Finding("a" * 16, LeakKind.PYTHON_OBJECTS, size * 200, 10, ())
        gating.append(rooms.services_session._per_request(found, 200).is_gating)
    return tuple(gating)


def aged(
    rooms: Rooms,
    count: int,
    kept: Callable[[int], int],
    life: Callable[[int, int], float] = lambda batch, age: 1.0,
    size: int = 10,
) -> Any:
    """What became of ``count`` batches; ``life`` is the share that is alive at some age."""
    alive = []
    for last in range(count):
        alive.append([round(kept(k) * life(k, last - k)) for k in range(last + 1)])
    ends = [size * (last + 1) for last in range(count)]
    return rooms.growth_ages.judge_ages(ends, alive)


def fates(rooms: Rooms, *cases: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(aged(rooms, *case).fate) for case in cases)


def keeping(count: int) -> Callable[[int], int]:
    """Of each twenty batches so many keep something."""
    return lambda k: 100 * (k % 20 < count)


def partly(share: float) -> Callable[[int, int], float]:
    return lambda batch, age: 1.0 if age <= 2 else share


def events(*at: int) -> Callable[[int], int]:
    return lambda k: 1000 * (k in at)


def sizes(odd: int) -> Callable[[int], int]:
    """Every fifth batch keeps something; of twenty so many keep far more than the others."""
    return lambda k: (4000 if k // 5 % 20 < odd else 1000) * (k % 5 == 0)


def noisy(noise: int) -> Callable[[int], int]:
    """Every fifth batch keeps 1,000 bytes, half of the others a little."""
    return lambda k: 1000 if k % 5 == 0 else noise * (k % 2)


def ring(life: int) -> tuple[Any, ...]:
    """A cache that keeps the last batches, over a leak of one byte in a hundred."""
    return (100, lambda k: 10_000, lambda batch, age: 1.0 if age < life else 0.01)


def later_ones(times: float) -> tuple[Any, ...]:
    """What is kept for a moment only; the last batches keep more than those before."""
    kept = lambda k: round(1000 * (times if k >= 90 else 1))  # noqa: E731
    return (100, kept, lambda batch, age: 1.0 * (age < 8))


def bound(life: int) -> tuple[Any, ...]:
    """A cache that has become full after so many of 400 batches."""
    return (400, lambda k: 1000, lambda batch, age: 1.0 * (age < life))


def larger_ones(size: int) -> tuple[Any, ...]:
    """The same of one batch, the last that is old enough, which may be the first of many."""
    kept = lambda k: size if k == 96 else 1000  # noqa: E731
    return (100, kept, lambda batch, age: 1.0 * (age < 8))


Steps = Sequence[tuple[int, int]]
DOUBLED = ((100, 100), (200, 200), (400, 400), (800, 800))
"""Steps of a buffer that is full again after as many requests as it has room for."""


def in_steps(rooms: Rooms, *cases: tuple[Steps, Sequence[int]]) -> tuple[bool, ...]:
    """Whether steps of a size at some request are those of a buffer, seen at such requests."""
    found = []
    for steps, ends in cases:
        totals = [sum(size for at, size in steps if at <= end) for end in ends]
        found.append(rooms.growth_larger_blocks.steps_in(ends, totals) is not None)
    return tuple(found)


def until(last: int) -> Sequence[int]:
    return range(10, last + 10, 10)


def beside(size: int) -> Steps:
    """Small steps at even distances beside those of a buffer."""
    others = [(at, size) for at in range(500, 800, 60)]
    return sorted((*DOUBLED, *others))


SLOWLY = ((160, 80), (240, 120), (360, 180), (540, 270), (810, 405))
"""Those of a buffer that becomes half as large again."""


def unseen(rooms: Rooms) -> tuple[bool, ...]:
    """Whether pages that were gained beyond all blocks keep a run from its end."""
    found = []
    for gained in (60 * KIB, 68 * KIB):
        timeline = rooms.services_timeline.Timeline(requests=times(100))
        timeline.series["private_bytes"] = [0.0] * 90 + [float(gained)] * 10
        timeline.peak = [0.0] * 100
        found.append(timeline.stands_still())
    return tuple(found)


def looks(
    rooms: Rooms,
    fate: str,
    count: int,
    requests: int = 400,
    for_good: bool = True,
    kept: int = 0,
    is_emptied: bool = False,
) -> bool:
    """Whether a run may end whose last looks saw that, after two that saw nothing."""
    stopping, ages = rooms.growth_stopping, rooms.growth_ages
    seen = [stopping.AgedLook(100, {"heap": ages.Ages(ages.Fate.UNKNOWN)}, True)] * 2
    last = {"heap": ages.Ages(ages.Fate(fate), kept_bytes=kept)}
    seen += [stopping.AgedLook(requests, last, True, for_good, is_emptied)] * count
    return bool(stopping.may_stop_by_age(seen, stopping.DEFAULT))


def held_for_good(rooms: Rooms, lost: int, chained: int, requests: int = 400) -> bool:
    """Whether a run may end of which so many of a thousand bytes are lost, or in a chain."""
    live = importlib.import_module("pytest_leakguard.tracker.live")
    one = loop(rooms)
    kept = {"heap_bytes": rooms.growth_ages.Ages(rooms.growth_ages.Fate.KEPT)}
    look = rooms.growth_stopping.AgedLook(requests, kept, True)
    one._aged = [look] * 5
    one._sampler.grown = list
    one._sampler.held = lambda ages: live.Held(1000, lost, 1000, chained)
    return bool(one._keeps_for_good(look))


def rested(rooms: Rooms, sockets: int = 0) -> float:
    """How long a loop rests whose leak began a fifth of a second ago."""
    one = loop(rooms)
    one._sampler.gained_sockets = lambda: sockets
    one._sampler.settle = lambda: None
    one._timeline.batches.ends = [100]
    one._ended_at = {100: 10.0}
    rested_s: list[float] = []
    measure: Any = rooms.services_measure
    clock = measure.time
    measure.time = SimpleNamespace(sleep=rested_s.append, monotonic=lambda: 10.2)
    kept = {"heap_bytes": rooms.growth_ages.Ages(rooms.growth_ages.Fate.KEPT)}
    try:
        assert one._is_too_young(rooms.growth_stopping.AgedLook(400, kept, True))
    finally:
        measure.time = clock
    return round(rested_s[0], 3)


def hidden(rooms: Rooms, requests: int) -> bool:
    """Whether a loop rests for connections that are open after so many requests."""
    one = loop(rooms)
    one._sampler.gained_sockets = lambda: 5
    unknown = {"heap_bytes": rooms.growth_ages.Ages(rooms.growth_ages.Fate.UNKNOWN)}
    look = rooms.growth_stopping.AgedLook(requests, unknown, False)
    return bool(one._is_hidden_by_connections(look))


def in_few(rooms: Rooms, size: int) -> bool:
    """Whether batches of that size, of which every fourth keeps something, say one in many."""
    ends = [size * (k + 1) for k in range(40)]
    alive = [[100 * (j % 4 == 0) for j in range(k + 1)] for k in range(40)]
    return bool(rooms.growth_ages._is_in_few_requests(ends, alive))


def near_limit(rooms: Rooms) -> tuple[int | None, ...]:
    """From which sample on a process has no room, having come to 95 % and to 97 %."""
    workers = rooms.growth_workers
    found = []
    for most in (950.0, 970.0):
        worker = workers.Worker("", series={"fds": [10.0, 500.0, most]}, limits={"fds": 1000.0})
        found.append(workers.full_from([worker], "fds"))
    return tuple(found)


HOUR_S = 3600.0


def hours(count: int) -> list[float]:
    return [HOUR_S * hour for hour in range(count)]


def sawtooth_of(pieces: int, samples: int, fall: float = 1.0, rise: float = 0.0) -> list[float]:
    """Pieces that gain 100 over a start of 100, and fall back by that share of it."""
    values: list[float] = []
    level = 100.0
    for _ in range(pieces):
        piece = [level + (200 - level) * i / (samples - 1) for i in range(samples)]
        values += piece[: samples // 2] + [value + rise for value in piece[samples // 2 :]]
        level = 200 - 100 * fall
    return values


def restarted(rooms: Rooms, *series: Sequence[float]) -> tuple[int, ...]:
    return tuple(len(rooms.growth_pieces.restarts_in(values)) for values in series)


def slid(slide: float) -> list[float]:
    """Two pieces; the first has given back so much of the 100 gained before it falls to its start."""
    piece = [100 + 100 * i / 29 for i in range(30)]
    return [*piece, *(200 - slide * i / 9 for i in range(10)), *piece]


def small_gain(gain: float) -> list[float]:
    return [100 + gain * i / 29 for i in range(30)] * 2


def spiked(rise: float) -> list[float]:
    """Two long pieces, the second of which rises once by so much at once."""
    return [100 + 2.0 * i for i in range(50)] + [100 + i + rise * (i > 25) for i in range(50)]


def cycles(rooms: Rooms, *cases: tuple[int, float, float]) -> tuple[bool, ...]:
    """For so many samples over so many days, of which so much is noise: is there a cycle?"""
    found = []
    for count, days, noise in cases:
        chance = random.Random(3)
        xs = [days * 24 * HOUR_S * i / (count - 1) for i in range(count)]
        ys = []
        for x in xs:
            ys.append(math.sin(2 * math.pi * x / (24 * HOUR_S)) + noise * chance.gauss(0, 1))
        found.append(rooms.growth_pieces.has_cycle(xs, ys, 24 * HOUR_S))
    return tuple(found)


def calmed(rooms: Rooms) -> int:
    values = rooms.growth_pieces._calmed([1.0] * 1000)
    return sum(value is not None for value in values)


def compared_blocks(rooms: Rooms) -> int:
    xs = hours(2000)
    return len(rooms.growth_pieces._block_rates(xs, xs))


def compared_interval(rooms: Rooms) -> float:
    chance = random.Random(1)
    xs = hours(640)
    first, second = ([chance.gauss(0, 1) for _ in xs] for _ in range(2))
    found = rooms.growth_pieces.compared((xs, first), (xs, second))
    return float(round((found.high - found.low) * 1e9))


def noise_floors(rooms: Rooms) -> float:
    metrics = rooms.growth_metrics
    return float(metrics.above_noise(metrics.RESIDENT, MIB).floor)


def searched_again(rooms: Rooms) -> int:
    one = loop(rooms)
    ages = rooms.growth_ages.Ages(rooms.growth_ages.Fate.KEPT)
    look = rooms.growth_stopping.AgedLook(400, {"heap_bytes": ages}, True)
    one._aged = [look] * 5
    one._sampler.held = lambda ages: SimpleNamespace(lost_share=0.0, chained_share=0.0)
    one._sampler.grown = list
    one._keeps_for_good(look)
    return int(one._search_at)


def containers(rooms: Rooms, growth: float, first: int, second: int) -> bool:
    """Whether containers without an end that took so many entries between two looks leak."""
    one = loop(rooms)
    grown = rooms.growth_filling.Grown(round(growth), 5000, 0, True)
    other = rooms.growth_filling.Grown(10**9, 10**9, 0, False)
    one._sampler.grown = lambda: [[grown, other]]
    one._grows_without_end(first)
    return bool(one._grows_without_end(second))


def lists(rooms: Rooms, requests: int) -> bool:
    """Whether a list that took so many entries by then leaks, where no source is known."""
    filling = rooms.growth_filling
    grown = filling.Grown(requests, requests, 0, False, is_list=True)
    return bool(filling.has_no_end([[grown]], 200, requests))


def limit_shows(rooms: Rooms) -> int:
    filling = rooms.growth_filling
    return int(filling.Filling(filling.Grown(1, 1, 1000, False), 1000).shows_at)


NEAR = (0.9, 1.1)
"""For pairs of inputs that lie less than a tenth below and above the number."""
APART = (0.8, 1.25)
INSIDE = (True, False)
OUTSIDE = (False, True)

CASES = {
    "LARGEST_READING": Case(dropped, 1),
    "LEAST_DISTANCE": Case(kept_apart, 3),
    "MIN_WINDOWS": Case(
        lambda rooms: (decided(rooms, 10, 10), decided(rooms, 10, 11)),
        ("undecided", "stable"),
        NEAR,
    ),
    "LONGEST_TAIL": Case(
        lambda rooms: shape(
            rooms,
            [a + b for a, b in zip(stairs(14, 10), through((0.0, 0), (0.1, 1000)), strict=True)],
            metric(rooms),
        ),
        "leak",
        (0.5, 4 / 3),
    ),
    "MIDDLE_TAIL": Case(
        lambda rooms: shape(rooms, stairs(12, 10, start=0.48), metric(rooms)), "leak"
    ),
    "LATEST_TAIL": Case(late, ("undecided", 7500)),
    "MIN_SAMPLES": Case(
        lambda rooms: (decided(rooms, 2, 12), decided(rooms, 3, 12)),
        ("undecided", "stable"),
        NEAR,
    ),
    "TAIL_WINDOWS": Case(sawtooth, (True,), (0.4, 2.0)),
    "RUN_WINDOWS": Case(ramps, ("burst", "cache")),
    "SIGN_LEVEL": Case(by_chance, OUTSIDE),
    "TREND_LEVEL": Case(trend, OUTSIDE),
    "TWO_STEPS_SHARE": Case(two_steps, OUTSIDE, NEAR),
    "FIRST_HALF_PACE": Case(lambda rooms: halves(rooms, (0.35, 1), (0.25, 1)), OUTSIDE, APART),
    "SECOND_HALF_PACE": Case(lambda rooms: halves(rooms, (1, 0.65), (1, 0.55)), OUTSIDE, APART),
    "INTERVAL_BLOCKS": Case(lambda rooms: interval(rooms, 100.0), (71.786, 129.304)),
    "LEAST_HALF_WIDTH": Case(lambda rooms: interval(rooms, 0.0), (95.0, 105.0)),
    "FADED_QUARTER": Case(lambda rooms: slowing(rooms, (1, 1, 0.65), (1, 1, 0.55)), OUTSIDE, APART),
    "FADED_TWO_QUARTERS": Case(
        lambda rooms: slowing(rooms, (1, 0.5, 0.42), (1, 0.45, 0.38)), OUTSIDE, NEAR
    ),
    "FADING_QUARTER": Case(
        lambda rooms: slowing(rooms, (1, 0.83, 0.69), (1, 0.77, 0.59)), OUTSIDE, NEAR
    ),
    "BENT_WINDOWS": Case(bent_windows, 13),
    "BENT_ERRORS": Case(
        lambda rooms: (bent(rooms, 0.5, 0.26), bent(rooms, 0.5, 0.21)), OUTSIDE, (0.8, 1.25)
    ),
    "BENT_SHARE": Case(lambda rooms: (bent(rooms, 0.68), bent(rooms, 0.74)), INSIDE, NEAR),
    "RELEASED_SHARE": Case(
        lambda rooms: (released(rooms, 1.19), released(rooms, 1.21)), OUTSIDE, NEAR
    ),
    "STOPPED_LEVEL": Case(pauses, OUTSIDE),
    "STOPPED_STEP": Case(ripples, INSIDE),
    "STOPPED_FLOORS": Case(missing_growth, INSIDE, APART),
    "WARM_UP": Case(warm_ups, ("stable", "cache")),
    "FILLING": Case(fillings, ("cache", "burst")),
    "REST_RISE": Case(lambda rooms: rests(rooms, 90, 110), INSIDE, APART),
    "REST_WIDTH": Case(distances, OUTSIDE),
    "BURST_SHARE": Case(
        lambda rooms: steps_of(rooms, metric(rooms, settled=100, step=100), (550, 450), (450, 550)),
        ("burst", "cache"),
        APART,
    ),
    "BURST_PAIR_SHARE": Case(pairs, ("burst", "cache"), NEAR),
    "SMALL_BURST": Case(
        lambda rooms: steps_of(rooms, metric(rooms, step=100), (27, 0), (23, 0)),
        ("burst", "stable"),
        APART,
    ),
    "SMALL_BURST_SHARE": Case(
        lambda rooms: steps_of(rooms, metric(rooms, step=2000), (930, 70), (870, 130)),
        ("burst", "stable"),
        NEAR,
    ),
    "BOOKKEEPING_BYTES": Case(bookkeeping, ("fds", "heap"), (0.7, 1.3)),
    "FRAGMENTATION_OF_BASE": Case(of_base, ("fragmentation", "stable"), APART),
    "FRAGMENTATION_HEAP_SHARE": Case(heap_shares, ("fragmentation", "cache"), APART),
    "HEAP_PACE": Case(heap_paces, ("leak", "cache"), APART),
    "PAGE_BYTES": Case(paged, OUTSIDE),
    "RESIDENT_FLOOR_BYTES": Case(detectable, 544.0),
    "RESIDENT_SLACK_BYTES": Case(detectable, 544.0),
    "HEAP_QUANTUM_BYTES": Case(lambda rooms: fills_by(rooms, "HEAP", 200, 300), OUTSIDE),
    "HEAP_FLOOR_BYTES": Case(
        lambda rooms: grows_by(rooms, "heap", 17 * KIB, 15 * KIB), INSIDE, APART
    ),
    "SERVICE_HEAP_FLOOR_BYTES": Case(
        lambda rooms: grows_by(rooms, "heap_bytes", 68 * KIB, 60 * KIB), INSIDE, APART
    ),
    "IN_PROCESS_QUANTUM_BYTES": Case(
        lambda rooms: fills_by(rooms, "IN_PROCESS_HEAP", 50, 75), OUTSIDE
    ),
    "IN_PROCESS_FLOOR_BYTES": Case(
        lambda rooms: in_process(rooms, 6.4 * KIB, 5.6 * KIB), INSIDE, APART
    ),
    "BLOCKS_FLOOR": Case(
        lambda rooms: settles(rooms, "BLOCKS", 34, 30), ("cache", "stable"), APART
    ),
    "COUNTER_FLOOR": Case(
        lambda rooms: settles(rooms, "DESCRIPTORS", 21, 19), ("cache", "stable"), APART
    ),
    "COUNTER_STEP": Case(lambda rooms: bursts(rooms, "fds", 34, 30), ("burst", "cache"), APART),
    "MACHINE_FLOOR_BYTES": Case(
        lambda rooms: grows_by(rooms, "memused", 8.5 * MIB, 7.5 * MIB), INSIDE, APART
    ),
    "MACHINE_STEP_BYTES": Case(
        lambda rooms: bursts(rooms, "memused", 68 * MIB, 60 * MIB), ("burst", "cache"), APART
    ),
    "V8_FLOOR_BYTES": Case(
        lambda rooms: floor_of(rooms, "v8", 9 * MIB, 7 * MIB), ("leak", "cache"), APART
    ),
    "GO_FLOOR_BYTES": Case(
        lambda rooms: floor_of(rooms, "go", 5.6 * MIB, 4.4 * MIB), ("leak", "cache"), APART
    ),
    "V8_YOUNG_BYTES": Case(v8_young, ("fragmentation", "cache"), APART),
    "SETTLED_FLOORS": Case(
        lambda rooms: settles(rooms, "RESIDENT", 136 * KIB, 120 * KIB), ("cache", "stable"), APART
    ),
    "STEP_FLOORS": Case(
        lambda rooms: bursts(rooms, "anon", 1.1 * MIB, 0.9 * MIB), ("burst", "cache"), APART
    ),
    "WORKERS_COMPARED_FROM": Case(compared_from, INSIDE, (0.5, 1.5)),
    "WORKER_STANDS_STILL": Case(stands_still, INSIDE, (0.7, 1.4)),
    "WORKER_SAME_SIZE": Case(same_size, INSIDE, NEAR),
    "NEAR_LIMIT": Case(near_limit, (None, 2), (0.98, 1.02)),
    "SETTLED_SHARE": Case(settled_at, 2825, NEAR),
    "ALERT_SHARE": Case(reached, (85.0, 95.0)),
    "SEVERE_SHARE": Case(reached, (85.0, 95.0)),
    "USUAL_RATES_PER_S": Case(marks, (1.0, 10.0, 100.0)),
    "FIRST_CHECKPOINT_REQUESTS": Case(first_requests, OUTSIDE, NEAR),
    "CHECKPOINT_FACTOR": Case(lambda rooms: rooms.growth_stopping.next_checkpoint(1000), 1250),
    "FIRST_CHECKPOINT_READINGS": Case(first_checkpoint, OUTSIDE, NEAR),
    "CONFIRMED_AFTER": Case(
        lambda rooms: ends(rooms, leaks(rooms, 1240, 9 * MIB), leaks(rooms, 1160, 9 * MIB)),
        INSIDE,
        NEAR,
    ),
    "QUIET_BEFORE": Case(
        lambda rooms: ends(rooms, quiet(rooms, 500, 250), quiet(rooms, 524, 250)), INSIDE, NEAR
    ),
    "USUAL_REQUESTS": Case(
        lambda rooms: ends(
            rooms,
            [judgement(rooms, "Undecided", 5200)],
            [judgement(rooms, "Undecided", 4800)],
        ),
        INSIDE,
        NEAR,
    ),
    "ALLOWANCE_BYTES": Case(
        lambda rooms: ends(rooms, leaks(rooms, 1300, 8.4 * MIB), leaks(rooms, 1300, 7.6 * MIB)),
        INSIDE,
        NEAR,
    ),
    "MIN_LEAK_BYTES": Case(
        lambda rooms: ends(rooms, quiet(rooms, 250, 250), quiet(rooms, 262, 262)), INSIDE, NEAR
    ),
    "MIN_LEAK_UNIQUE_BYTES": Case(
        lambda rooms: ends(
            rooms,
            quiet(rooms, 62, 62),
            quiet(rooms, 66, 66),
            preset=rooms.growth_stopping.CAREFUL,
        ),
        INSIDE,
        NEAR,
    ),
    "MIN_LEAK_HEAP_BYTES": Case(quiet_with_heap, INSIDE, NEAR),
    "FIXED_REQUESTS": Case(fixed_sets, (True, True, False), NEAR),
    "LEAST_READINGS": Case(
        lambda rooms: rooms.services_sampling_schedule.next_reading(0, 1e9, 5600),
        200,
    ),
    "POOL_SIZE": Case(pools, INSIDE, NEAR),
    "CREEP_BYTES": Case(creeps, INSIDE, NEAR),
    "OWN_PROCESS_MOMENTS": Case(own_processes, 1, (0.5, 1.5)),
    "RECYCLED_PROCESSES": Case(recycled, OUTSIDE, (0.5, 1.5)),
    "LOAD_BATCHES": Case(lambda rooms: batches(rooms, 1000), 30_000),
    "UNCOUNTED_BATCHES": Case(lambda rooms: batches(rooms, 1), 60),
    "LEAST_PYTHON_BYTES": Case(python_objects, OUTSIDE, NEAR),
    "AGED_AFTER_REQUESTS": Case(lambda rooms: aged(rooms, 40, lambda k: 100).batches, 28),
    "AGED_WARM_UP": Case(lambda rooms: aged(rooms, 40, lambda k: 100).first, 10),
    "AGED_BATCHES": Case(
        lambda rooms: fates(
            rooms, (14, lambda k: 100, partly(1), 12), (15, lambda k: 100, partly(1), 12)
        ),
        ("unknown", "kept"),
        NEAR,
    ),
    "AGED_REQUESTS": Case(
        lambda rooms: fates(
            rooms, (19, lambda k: 100, partly(1), 8), (20, lambda k: 100, partly(1), 8)
        ),
        ("unknown", "kept"),
        NEAR,
    ),
    "AGED_KEEPING": Case(
        lambda rooms: fates(rooms, (110, keeping(19)), (110, keeping(17))),
        ("kept", "kept now and then"),
        NEAR,
    ),
    "AGED_KEPT": Case(
        lambda rooms: fates(
            rooms, (100, lambda k: 1000, partly(0.97)), (100, lambda k: 1000, partly(0.93))
        ),
        ("kept", "unknown"),
        NEAR,
    ),
    "AGED_LOST": Case(
        lambda rooms: fates(
            rooms, (30, lambda k: 1000, partly(0.63)), (30, lambda k: 1000, partly(0.57))
        ),
        ("unknown", "lost"),
        NEAR,
    ),
    "AGED_EVENTS": Case(
        lambda rooms: fates(
            rooms, (100, events(30, 50, 65, 80, 90)), (100, events(30, 40, 50, 65, 80, 90))
        ),
        ("unknown", "kept now and then"),
        (0.8, 1.2),
    ),
    "AGED_SHORT_REQUESTS": Case(lambda rooms: (in_few(rooms, 19), in_few(rooms, 21)), INSIDE, NEAR),
    "AGED_EVENT_SHARE": Case(
        lambda rooms: fates(rooms, (134, noisy(108)), (134, noisy(92))),
        ("unknown", "kept now and then"),
        NEAR,
    ),
    "AGED_PARTS": Case(
        lambda rooms: fates(
            rooms,
            (100, events(26, 28, 30, 48, 50, 60, 70, 76)),
            (100, events(26, 28, 40, 45, 50, 60, 64, 83)),
        ),
        ("unknown", "kept now and then"),
        APART,
    ),
    "AGED_ALIKE": Case(
        lambda rooms: fates(rooms, (134, sizes(5)), (134, sizes(7))),
        ("kept now and then", "unknown"),
        NEAR,
    ),
    "AGED_QUIET_FROM": Case(
        lambda rooms: fates(
            rooms, (100, lambda k: 10_000 * (k < 33)), (100, lambda k: 10_000 * (k < 37))
        ),
        ("gone", "unknown"),
        NEAR,
    ),
    "AGED_QUIET_REQUESTS": Case(
        lambda rooms: fates(rooms, (26, lambda k: 0), (27, lambda k: 0)), ("unknown", "gone"), NEAR
    ),
    "AGED_OLDER": Case(
        lambda rooms: fates(
            rooms,
            (100, lambda k: 1000, lambda batch, age: 1.0 * (age < 31)),
            (100, lambda k: 1000, lambda batch, age: 1.0 * (age < 36)),
        ),
        ("gone", "lost"),
        NEAR,
    ),
    "AGED_YOUNG": Case(
        lambda rooms: fates(rooms, later_ones(1.15), later_ones(1.25)), ("gone", "lost"), NEAR
    ),
    "AGED_LARGER_BYTES": Case(
        lambda rooms: fates(rooms, larger_ones(2000), larger_ones(2100)), ("gone", "lost"), NEAR
    ),
    "LARGER_STEPS": Case(
        lambda rooms: in_steps(rooms, (DOUBLED, until(1000)), (DOUBLED[1:], until(1000))), INSIDE
    ),
    "LARGER_EVERY": Case(
        lambda rooms: in_steps(
            rooms,
            (DOUBLED, (50, 100, 150, 200, 300, 400, 500, 600, 800, 900, 1000)),
            (DOUBLED, (50, 100, 150, 200, 300, 400, 600, 800, 900, 1000)),
        ),
        INSIDE,
    ),
    "LARGER_SINCE": Case(
        lambda rooms: in_steps(
            rooms, (DOUBLED, until(1600)), (((90, 100), *DOUBLED[1:]), until(1600))
        ),
        INSIDE,
    ),
    "LARGER_GAPS": Case(
        lambda rooms: in_steps(
            rooms,
            (((100, 100), (200, 120), (320, 150), (470, 180)), until(600)),
            (((100, 100), (200, 120), (320, 140), (460, 180)), until(600)),
        ),
        INSIDE,
        NEAR,
    ),
    "LARGER_LEAST": Case(
        lambda rooms: in_steps(rooms, (beside(70), until(1000)), (beside(90), until(1000))), INSIDE
    ),
    "LARGER_APART": Case(
        lambda rooms: in_steps(
            rooms,
            ((*DOUBLED[:3], (800, 450)), until(1000)),
            ((*DOUBLED[:3], (800, 420)), until(1000)),
        ),
        INSIDE,
        NEAR,
    ),
    "LARGER_OVERDUE": Case(
        lambda rooms: in_steps(rooms, (SLOWLY, until(1410)), (SLOWLY, until(1430))), INSIDE
    ),
    "AGED_LATELY": Case(lambda rooms: fates(rooms, bound(381), bound(379)), ("kept", "unknown")),
    "AGED_FULL": Case(
        lambda rooms: fates(rooms, bound(381), bound(379)), ("kept", "unknown"), NEAR
    ),
    "AGED_LEAST_BYTES": Case(
        lambda rooms: fates(
            rooms, (60, lambda k: 19, partly(1), 20), (60, lambda k: 21, partly(1), 20)
        ),
        ("gone", "kept"),
        NEAR,
    ),
    "AGED_BENEATH_FROM": Case(
        lambda rooms: fates(rooms, ring(22), ring(26)), ("kept", "lost"), NEAR
    ),
    "AGED_UNSEEN_BYTES": Case(unseen, INSIDE, NEAR),
    "AGED_LOOKS": Case(
        lambda rooms: (looks(rooms, "kept", 2), looks(rooms, "kept", 3)), OUTSIDE, (0.6, 1.4)
    ),
    "AGED_QUIET_LOOKS": Case(
        lambda rooms: (looks(rooms, "gone", 1), looks(rooms, "gone", 2)), OUTSIDE
    ),
    "AGED_SURE_REQUESTS": Case(
        lambda rooms: (
            looks(rooms, "kept", 3, 1030, False),
            looks(rooms, "kept", 3, 1170, False),
        ),
        OUTSIDE,
        NEAR,
    ),
    "AGED_SURE_EMPTIED_REQUESTS": Case(
        lambda rooms: (
            looks(rooms, "kept", 3, 5700, False, is_emptied=True),
            looks(rooms, "kept", 3, 6300, False, is_emptied=True),
        ),
        OUTSIDE,
        NEAR,
    ),
    "AGED_SURE_BYTES": Case(
        lambda rooms: (
            looks(rooms, "kept", 3, 400, False, kept=120 * MIB),
            looks(rooms, "kept", 3, 400, False, kept=136 * MIB),
        ),
        OUTSIDE,
        NEAR,
    ),
    "AGED_LIMIT_SHOWS": Case(limit_shows, 1100),
    "AGED_SURE_RARE_REQUESTS": Case(
        lambda rooms: (
            looks(rooms, "kept now and then", 3, 1400, False, kept=MIB),
            looks(rooms, "kept now and then", 3, 1600, False, kept=MIB),
        ),
        OUTSIDE,
        NEAR,
    ),
    "AGED_CHAINED_REQUESTS": Case(
        lambda rooms: (held_for_good(rooms, 0, 1000, 255), held_for_good(rooms, 0, 1000, 275)),
        OUTSIDE,
        NEAR,
    ),
    "AGED_CHAINED_SHARE": Case(
        lambda rooms: (held_for_good(rooms, 0, 680), held_for_good(rooms, 0, 720)), OUTSIDE, NEAR
    ),
    "AGED_SECONDS": Case(rested, 0.8),
    "AGED_OPEN_SECONDS": Case(lambda rooms: rested(rooms, sockets=5), 6.0),
    "AGED_SETTLED_REQUESTS": Case(
        lambda rooms: (hidden(rooms, 290), hidden(rooms, 310)), OUTSIDE, NEAR
    ),
    "AGED_LOST_SHARE": Case(
        lambda rooms: (held_for_good(rooms, 480, 0), held_for_good(rooms, 520, 0)), OUTSIDE, NEAR
    ),
    "AGED_LOST_AGAIN": Case(searched_again, 600),
    "AGED_ASKED_FROM": Case(
        lambda rooms: (
            containers(rooms, 1e9, 150, 245),
            containers(rooms, 1e9, 150, 255),
            containers(rooms, 1e9, 50, 195),
            containers(rooms, 1e9, 50, 205),
        ),
        (False, True, False, True),
        NEAR,
    ),
    "PIECE_SAMPLES": Case(
        lambda rooms: restarted(rooms, sawtooth_of(3, 14), sawtooth_of(3, 15)), (0, 2), NEAR
    ),
    "RESTART_FALL": Case(
        lambda rooms: restarted(rooms, slid(13), slid(22)),
        (1, 0),
        NEAR,
    ),
    "RESTART_LEFT": Case(
        lambda rooms: restarted(rooms, sawtooth_of(2, 40, 0.81), sawtooth_of(2, 40, 0.84)),
        (1, 1),
        (0.9, 0.5),
    ),
    "RESTART_OF_START": Case(
        lambda rooms: restarted(rooms, small_gain(10.5), small_gain(9.5)), (1, 0), NEAR
    ),
    "RESTART_RISE": Case(lambda rooms: restarted(rooms, spiked(46), spiked(51)), (1, 0), NEAR),
    "CYCLES_NEEDED": Case(lambda rooms: cycles(rooms, (200, 1.9, 0), (200, 2.1, 0)), OUTSIDE, NEAR),
    "CYCLE_SAMPLES": Case(lambda rooms: cycles(rooms, (51, 10, 0), (63, 10, 0)), OUTSIDE, APART),
    "CYCLE_ALIKE": Case(
        lambda rooms: cycles(rooms, (2000, 10, 0.79), (2000, 10, 0.85)), INSIDE, NEAR
    ),
    "CALMED_SAMPLES": Case(calmed, 100),
    "COMPARED_BLOCKS": Case(compared_blocks, 15),
    "COMPARED_ERRORS": Case(compared_interval, 3106, NEAR),
    "NOISE_FLOORS": Case(noise_floors, 4.0 * MIB),
    "AGED_LISTS_FROM": Case(
        lambda rooms: (lists(rooms, 390), lists(rooms, 410)),
        OUTSIDE,
        NEAR,
    ),
    "AGED_ENTRY_PACE": Case(
        lambda rooms: (containers(rooms, 170, 300, 500), containers(rooms, 150, 300, 500)),
        INSIDE,
        NEAR,
    ),
}


def moved(value: Any, factor: float) -> Any:
    if isinstance(value, tuple):
        return tuple(moved(part, factor) for part in value)
    return round(value * factor) if isinstance(value, int) else value * factor


@pytest.mark.parametrize("name", CASES)
def test_the_number_gives_the_promised_answer(name: str) -> None:
    with rooms_with() as rooms:
        assert CASES[name].ask(rooms) == CASES[name].promised


@pytest.mark.parametrize(
    ("name", "factor"),
    [(name, factor) for name, case in CASES.items() for factor in case.factors],
)
def test_a_number_that_moves_changes_an_answer(name: str, factor: float) -> None:
    with rooms_with(name, moved(getattr(thresholds, name), factor)) as rooms:
        assert CASES[name].ask(rooms) != CASES[name].promised


def test_every_number_has_a_case() -> None:
    names = {name for name in vars(thresholds) if name.isupper()}
    assert names - UNITS == set(CASES)


def test_the_rooms_are_as_before_when_a_number_has_moved() -> None:
    from pytest_leakguard.growth import classify

    with rooms_with("MIN_SAMPLES", 99) as rooms:
        assert rooms.growth_classify is not classify
    assert sys.modules["pytest_leakguard.growth.classify"] is classify
    assert pytest_leakguard.growth.thresholds is thresholds
