"""How long the memory lasts at a measured growth: an extrapolation, pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_leakguard.answers import Estimate
from pytest_leakguard.growth_evidence import Slope


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


def forecast(growth: Slope | Estimate, rate_per_s: float, limit_bytes: float, current_bytes: float) -> Forecast:
    """Return when 85 % and 95 % of the limit are reached; limits act on resident growth."""
    return Forecast(*(_reach(share, growth, rate_per_s, limit_bytes, current_bytes) for share in (0.85, 0.95)))


def _reach(share: float, growth: Slope | Estimate, rate_per_s: float, limit: float, current: float) -> Reach:
    room = max(0.0, share * limit - current)
    requests = _quotient(room, growth.per_iteration)
    soonest, likely, latest = (
        _quotient(room, per_request * rate_per_s) for per_request in (growth.high, growth.per_iteration, growth.low)
    )
    return Reach(share, requests, likely, soonest, latest)


def _quotient(room: float, pace: float) -> float | None:
    if room == 0:
        return 0.0  # already there, whatever the pace
    reached = room / pace if pace > 0 else math.inf
    return reached if math.isfinite(reached) else None
