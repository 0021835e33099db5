"""The answers about growth: one type for each shape, with its evidence. Decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias, TypeVar

from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.growth.metrics import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What every answer carries, in the metric's unit (bytes, blocks, descriptors ...)."""

    shape: ClassVar[Shape]
    """The answer in the report's words."""
    metric: Metric
    per_iteration: float = 0.0
    """Growth per request; Theil-Sen, over the tail that decided."""
    low: float = 0.0
    high: float = 0.0
    """95 % interval of ``per_iteration``."""
    rise: float = 0.0
    """Growth of what was retained, from after the first twentieth of the run to its end."""
    late_rise: float = 0.0
    """The part of it in the last three quarters of the run, warm-up left behind."""
    iterations: int = 0
    detectable_per_iteration: float | None = None
    """The smallest leak that would have been seen; ``None`` where none would have been."""
    evidence: tuple[str, ...] = ()
    """Which rule said what, for the reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stable(Estimate):
    """Flat, or too small a rise to have a name."""

    shape: ClassVar[Shape] = Shape.STABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache(Estimate):
    """It rose and levels off: a cache, a pool or warm-up."""

    shape: ClassVar[Shape] = Shape.CACHE


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst(Estimate):
    """A step, then flat; or a rise that was given back."""

    shape: ClassVar[Shape] = Shape.BURST
    is_early: bool = False
    """The step came so soon that it may be the runtime's start as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragmentation(Estimate):
    """Resident memory grows, the live heap does not."""

    shape: ClassVar[Shape] = Shape.FRAGMENTATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaking(Estimate):
    """It grows with every part of the run, and nothing says that it will end."""

    shape: ClassVar[Shape] = Shape.LEAK


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided(Estimate):
    """The evidence is too thin: why, and what it would take. Never to be read as a pass."""

    shape: ClassVar[Shape] = Shape.UNDECIDED
    reason: str
    remedy: str
    counted_in: str
    """What ``have`` and ``need`` count: ``samples`` or ``requests``."""
    have: int
    need: int


Trend: TypeAlias = Stable | Cache | Burst | Fragmentation | Leaking | Undecided
_T = TypeVar("_T", bound=Estimate)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer for a run: one trend per series, and the one that decides."""

    overall: Trend
    trends: tuple[Trend, ...] = ()
    ignored: tuple[str, ...] = ()
    """Series that nothing is known about."""

    @property
    def shape(self) -> Shape:
        return self.overall.shape


def answer(kind: type[_T], facts: Estimate, *evidence: str, **more: Any) -> _T:
    """Return ``facts`` as an answer of that kind, with more evidence."""
    shared = {field.name: getattr(facts, field.name) for field in fields(Estimate)}
    shared["evidence"] = (*facts.evidence, *evidence)
    return kind(**shared, **more)
