"""When to read a driven service again, so that reading costs little of the loop. Numbers and answers only, no I/O."""

from __future__ import annotations

import math

MOST_SHARE = 0.02
"""What readings and looks together may take of the loop's time before the report says that they took more."""
READINGS_SHARE, LOOKS_SHARE = 0.011, 0.003
"""What each may have spent of the time the requests took. Below 2 % together, as the dearest of them come last."""
LEAST_READINGS = 28
"""Evenly spread, they leave twenty-one in the last three quarters of a run and fourteen in its last half, which are the
two parts that are looked at; eleven are needed in each."""
FIRST_LOOK = 17
"""So many of them have eleven in the last three quarters. A leak seen there is confirmed half as many requests later,
which is still before the end."""
LONGEST_FACTOR, LONGEST_S = 20, 15.0
"""A run may be made so many times longer, to so many seconds of requests, for its readings to cost little."""
_EXTENDED_SHARE = 0.012
"""Of a run that is made longer, the least number of readings may take so much: looks and full readings come on top."""
_GLANCES, _USUAL_LIMIT = 100, 5000
"""So many glances in a run of that many requests, and as often in a longer one."""
_FINEST, _LEAST_GAP = 0.025, 4
"""Least distance of two readings: as a share of the requests so far, and in requests."""


def affordable_at(done: int, working_s: float, spent_s: float, cost_s: float, share: float) -> float:
    """The request from which on one more reading of ``cost_s`` keeps all of them within ``share`` of the work.

    ``spent_s`` is what they have cost in the ``done`` requests so far, which took ``working_s`` seconds.
    """
    if done <= 0 or working_s <= 0:
        return 0.0
    return done * (spent_s + cost_s) / (share * working_s)


def next_reading(done: int, affordable: float, limit: int) -> int:
    """After which request to read next: once it can be afforded, but never so late that a verdict lacks readings.

    ``limit`` is the most requests the run may have.
    """
    earliest = done + max(_LEAST_GAP, int(done * _FINEST))
    latest = done + max(_LEAST_GAP, limit // LEAST_READINGS)
    return min(max(earliest, math.ceil(affordable)), max(earliest, latest))


def likely_end(done: int, limit: int) -> int:
    """Where a service that grows much may end: readings every tenth of the requests so far allow an answer anywhere."""
    return min(limit, LEAST_READINGS * done // 10)


def glance_after(limit: int) -> int:
    """Requests between two glances at the processes: some hundred in a run, as each is a matter of microseconds."""
    return max(_LEAST_GAP, min(limit, _USUAL_LIMIT) // _GLANCES)


def extended(limit: int, per_request_s: float, cost_s: float) -> int:
    """How many requests make the least number of readings cost little; ``limit`` where they would be too many.

    Half a lengthening would cost time and still not keep the share, so it is all or nothing.
    """
    if per_request_s <= 0:
        return limit
    working_s = LEAST_READINGS * cost_s / _EXTENDED_SHARE
    need = math.ceil(working_s / per_request_s)
    is_possible = need <= LONGEST_FACTOR * limit and working_s <= LONGEST_S
    return max(limit, need) if is_possible else limit
