"""When the memory limit is reached if the same traffic continues. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_leakguard.growth import thresholds
from pytest_leakguard.growth.answers import Estimate
from pytest_leakguard.growth.statistics import Slope


@dataclass(frozen=True, slots=True)
class Reach:
    """When a share of the memory limit is reached if the same traffic continues."""

    share: float
    requests: float | None
    """``None``: never, at the growth measured."""
    seconds: float | None
    soonest_s: float | None
    """By the upper end of the growth's interval; ``None``: never."""
    latest_s: float | None
    """By the lower end; ``None``: no upper bound."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """An extrapolation, as good as the traffic stays the same."""

    alert: Reach
    """85 % of the limit."""
    severe: Reach
    """95 % of the limit."""


def forecast(
    growth: Slope | Estimate, rate_per_s: float, limit_bytes: float, current_bytes: float
) -> Forecast:
    """Return when 85 % and 95 % of the limit are reached; limits act on resident growth."""

    def reach(share: float) -> Reach:
        # What is reached already has no room left, and no pace is needed to say so.
        room = max(0.0, share * limit_bytes - current_bytes)
        return Reach(
            share,
            requests=_quotient(room, growth.per_iteration),
            seconds=_quotient(room, growth.per_iteration * rate_per_s),
            soonest_s=_quotient(room, growth.high * rate_per_s),
            latest_s=_quotient(room, growth.low * rate_per_s),
        )

    return Forecast(reach(thresholds.ALERT_SHARE), reach(thresholds.SEVERE_SHARE))


def _quotient(room: float, pace: float) -> float | None:
    """Return after how long ``room`` is used; ``None`` is never."""
    if room == 0:
        return 0.0  # already there, whatever the pace
    reached = room / pace if pace > 0 else math.inf
    return reached if math.isfinite(reached) else None
