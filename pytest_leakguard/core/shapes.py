"""The six answers to the question how a series grows, in the words of report.json."""

from __future__ import annotations

from enum import StrEnum


class Shape(StrEnum):
    """How one series grows with the requests or runs; ``UNDECIDED`` is never treated as a pass."""

    LEAK = "leak"
    """It grows with every part of the run, and nothing says that it will end."""
    CACHE = "cache"
    """It rose and levels off: a cache, a pool or warm-up."""
    BURST = "burst"
    """A step, then flat; or a rise that was given back."""
    FRAGMENTATION = "fragmentation"
    """Resident memory grows and the live heap does not."""
    STABLE = "stable"
    """Flat, or too small a rise to have a name."""
    UNDECIDED = "undecided"
    """The evidence is too thin for any of the others."""
