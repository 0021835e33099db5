"""One line that says how far a loop is: requests, rate, growth so far, and what a verdict still takes."""

from __future__ import annotations

from pytest_leakguard.course import Course
from pytest_leakguard.reporters.growth import quantity
from pytest_leakguard.sequential import Preset, missing


def line(course: Course, preset: Preset) -> str:
    """``1,024 requests, 812/s, heap_bytes +1.2 MiB, leak so far; 8 MiB of growth ...``."""
    look = course.looks[-1] if course.looks else None
    pace = course.done / course.elapsed_s if course.elapsed_s > 0 else 0.0
    told = f"{course.done:,} requests, {pace:,.0f}/s"
    name = look.overall.metric.name if look else "private_bytes"
    gained = course.gained(name)
    unit = look.overall.metric.unit if look else "bytes"
    so_far = f", {look.shape} so far" if look else ""
    sign = "+" if gained >= 0 else "-"
    needs = missing(course.looks, course.done, preset)
    return f"{told}, {name} {sign}{quantity(abs(gained), unit)}{so_far}; needs {needs}"
