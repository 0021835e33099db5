"""Side by side: the growth verdict and the simple methods, on recorded and labelled series.

    python benchmarks/growth_matrix.py TRACES [--runtime] [--proc-only]

``TRACES`` holds ``services/*.json`` and ``inprocess/*.json``. ``--runtime`` tells the verdict
which services run on a JVM or V8, ``--proc-only`` hides the live heap from it.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.growth.answers import Judgement
from pytest_leakguard.growth.classify import judge
from pytest_leakguard.growth.metrics import IN_PROCESS_METRICS
from pytest_leakguard.growth.statistics import mann_kendall, theil_sen

SHAPES = tuple(Shape)
RUNTIMES = {"java": "jvm", "javascript": "v8"}
MIB = 2**20
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled trace and our answer to it."""

    name: str
    trace: dict[str, Any]
    answer: Judgement

    @property
    def is_leak(self) -> bool:
        return bool(self.trace["label"] == "leak")

    @property
    def truth(self) -> float:
        return float(self.trace["true_bytes_per_request"] or 0)


def load(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the traces; without those of the default JVM collector that have no live heap.

    Their resident memory grows in a straight line when clean, so nothing can be decided.
    """
    found = [(path.stem, json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
    return [
        (name, trace)
        for name, trace in found
        if trace["language"] != "java" or trace.get("heap") or trace["controls"]
    ]


def services(folder: Path, tells_runtime: bool, proc_only: bool) -> list[Case]:
    cases = []
    for name, trace in load(folder):
        keys = ["anon", "fds", "threads"] + ([] if proc_only else ["heap"])
        runtime = RUNTIMES.get(trace["language"], "") if tells_runtime else ""
        answer = judge(
            trace["requests"],
            {key: trace[key] for key in keys if key in trace},
            processes=trace["procs"][0],
            runtime=runtime,
        )
        cases.append(Case(name, trace, answer))
    return cases


def functions(folder: Path) -> list[Case]:
    cases = []
    for name, trace in load(folder):
        heap = [a + b for a, b in zip(trace["heap"], trace["mmap"], strict=True)]
        series = {"heap": heap, **{key: trace[key] for key in ("blocks", "fds", "threads")}}
        answer = judge(trace["requests"], series, metrics=IN_PROCESS_METRICS)
        cases.append(Case(name, trace, answer))
    return cases


def points(trace: dict[str, Any]) -> Points:
    return list(zip(trace["requests"], trace["anon"], strict=True))[1:]


def ordinary_least_squares(series: Points) -> tuple[float, float]:
    """Return the slope and its one-sided p (normal approximation, independent residuals)."""
    xs, ys = [x for x, _ in series], [y for _, y in series]
    slope, intercept = statistics.linear_regression(xs, ys)
    residuals = sum((y - intercept - slope * x) ** 2 for x, y in series)
    mean = statistics.fmean(xs)
    error = math.sqrt(residuals / (len(xs) - 2) / sum((x - mean) ** 2 for x in xs))
    if error == 0:
        return slope, 0.0 if slope > 0 else 1.0
    return slope, 0.5 * math.erfc(slope / error / math.sqrt(2))


def mann_kendall_sen(series: Points, least: float) -> bool:
    return mann_kendall([y for _, y in series]) < 0.05 and theil_sen(series) > least


def psleak(series: Points) -> bool:
    """Return psleak 0.1.6's answer, adapted to a trace: runs of 200 x 1.5^i calls, at most ten.

    A run that does not grow acquits, as does growth of at most 16 B per call, or growth that
    fades by a fifth twice in a row. Here the runs follow one another in one trace.
    """
    start, calls, fades, before = series[0], 200.0, 0, math.inf
    for _ in range(10):
        end = next((point for point in series if point[0] >= start[0] + calls), None)
        if end is None:
            break
        rate = (end[1] - start[1]) / (end[0] - start[0])
        fades = fades + 1 if rate <= 0.8 * before else 0
        if rate <= 16 or fades >= 2:
            return False
        start, calls, before = end, 1.5 * calls, rate
    return True


SIMPLE: dict[str, Callable[[Points], bool]] = {
    "last > first": lambda s: s[-1][1] > s[0][1],
    "last > first + 1 MiB": lambda s: s[-1][1] > s[0][1] + MIB,
    "OLS p<.05": lambda s: ordinary_least_squares(s)[1] < 0.05,
    "OLS p<.05, >= 16 B": lambda s: (
        ordinary_least_squares(s)[1] < 0.05 and ordinary_least_squares(s)[0] >= 16
    ),
    "Mann-Kendall + Sen > 0": lambda s: mann_kendall_sen(s, 0),
    "Mann-Kendall + Sen >= 16 B": lambda s: mann_kendall_sen(s, 16),
    "psleak scheme": psleak,
}


def print_matrix(cases: Sequence[Case]) -> None:
    counts = Counter((case.trace["label"], case.answer.shape) for case in cases)
    print(f"{'recorded as':<15}" + "".join(f"{shape:>14}" for shape in SHAPES))
    for label in SHAPES[:-1]:
        print(f"{label:<15}" + "".join(f"{counts[label, shape]:>14}" for shape in SHAPES))
    accepted = sum(case.answer.shape in case.trace["accept"] for case in cases)
    print(f"an accepted answer: {accepted} of {len(cases)}")


def print_lists(cases: Sequence[Case]) -> None:
    large = [case for case in cases if case.is_leak and case.truth >= 64]
    found = [case for case in large if case.answer.shape == "leak"]
    print(f"\nleaks of >= 64 B/request found: {len(found)} of {len(large)}")
    for title, chosen in (
        ("missed", [c for c in cases if c.is_leak and c.answer.shape != "leak"]),
        ("falsely a leak", [c for c in cases if is_false(c)]),
        ("other answers that are not accepted", [c for c in cases if is_other(c)]),
    ):
        print(f"{title}: {len(chosen)}")
        for case in chosen:
            print(f"  {case.name:<22}{case.truth:>9.0f} B/request -> {case.answer.shape}")
    print("found: " + " ".join(c.name for c in cases if c.is_leak and c.answer.shape == "leak"))


def is_false(case: Case) -> bool:
    return case.answer.shape == "leak" and "leak" not in case.trace["accept"]


def is_other(case: Case) -> bool:
    accepted = case.answer.shape in case.trace["accept"]
    return not accepted and not case.is_leak and case.answer.shape != "leak"


def print_rates(cases: Sequence[Case]) -> None:
    errors = []
    covered = 0
    print("\nrate errors above 15 % where the truth is above 1 KiB/request:")
    for case in cases:
        overall = case.answer.overall
        if case.answer.shape != "leak" or case.truth < 1024 or overall.metric.unit != "bytes":
            continue
        errors.append(abs(overall.per_iteration / case.truth - 1))
        covered += overall.low <= case.truth <= overall.high
        if errors[-1] > 0.15:
            print(f"  {case.name:<22}{case.truth:>9.0f} measured {overall.per_iteration:.0f}")
    if errors:
        within = sum(error <= 0.15 for error in errors)
        print(
            f"within 15 %: {within} of {len(errors)}, median error "
            f"{statistics.median(errors):.1%}, truth inside the interval {covered}"
        )


def print_methods(cases: Sequence[Case]) -> None:
    large = [case for case in cases if case.is_leak and case.truth >= 64]
    clean = [case for case in cases if "leak" not in case.trace["accept"]]
    print(f"\n{'method':<30}{'found':>10}{'false':>10}   (of {len(large)} and {len(clean)})")
    methods: dict[str, Callable[[Case], bool]] = {
        name: lambda case, ask=ask: ask(points(case.trace))  # type: ignore[misc]
        for name, ask in SIMPLE.items()
    }
    methods["leakguard"] = lambda case: case.answer.shape == "leak"
    for name, ask in methods.items():
        found, false = sum(map(ask, large)), sum(map(ask, clean))
        print(f"{name:<30}{found:>10}{false:>10}   {false / max(1, len(clean)):.0%} false alarms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--runtime", action="store_true")
    parser.add_argument("--proc-only", action="store_true")
    options = parser.parse_args()
    started = time.perf_counter()
    cases = services(options.traces / "services", options.runtime, options.proc_only)
    spent_ms = 1000 * (time.perf_counter() - started) / max(1, len(cases))
    print_matrix(cases)
    print_lists(cases)
    print_rates(cases)
    print_methods(cases)
    inside = functions(options.traces / "inprocess")
    found = sum(case.answer.shape == "leak" for case in inside if case.is_leak)
    false = sum(case.answer.shape == "leak" for case in inside if not case.is_leak)
    leaks = sum(case.is_leak for case in inside)
    print(f"\nin-process: found {found} of {leaks}, false {false} of {len(inside) - leaks}")
    print(f"{spent_ms:.1f} ms per service, reading included (three or four series each)")


if __name__ == "__main__":
    main()
