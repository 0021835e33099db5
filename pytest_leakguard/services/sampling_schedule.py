"""When to read a driven service again, so that reading costs little of the loop. Numbers and answers only, no I/O."""

from __future__ import annotations

import math

MOST_SHARE = 0.02
"""What readings and looks together may take of the loop's time before the report says that they took more."""
READINGS_SHARE, LOOKS_SHARE = 0.010, 0.002
"""What each may have spent of the time the requests took. Below 2 % together, as glances, the last reading and a
look that confirms a leak are not put off.
"""
LEAST_READINGS = 28
"""Evenly spread, they leave twenty-one in the last three quarters of a run and fourteen in its last half, which are the
two parts that are looked at; eleven are needed in each."""
FIRST_LOOK = 17
"""So many of them have eleven in the last three quarters. A leak seen there is confirmed half as many requests later,
which is still before the end."""
LONGEST_FACTOR, LONGEST_S, HOPELESS_S = 20, 15.0, 45.0
"""A run may be made so many times longer, to so many seconds of requests, for its readings to cost little; not where
it would take more than the third, as for a JVM: there it would cost time and change little.
"""
_EXTENDED_SHARE, _LOOKS_S = 0.013, 0.003
"""Of a run that is made longer, the least number of readings and three looks at them may take so much."""
_GLANCES, _USUAL_LIMIT = 100, 5000
"""So many glances in a run of that many requests, and as often in a longer one."""
_FINEST, _LEAST_GAP = 0.025, 4
"""Least distance of two readings: as a share of the requests so far, and in requests."""


def affordable_at(
    done: int, working_s: float, spent_s: float, cost_s: float, share: float
) -> float:
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
    """How many requests make the least number of readings, of ``cost_s`` each, cost little."""
    working_s = (LEAST_READINGS * cost_s + _LOOKS_S) / _EXTENDED_SHARE
    if per_request_s <= 0 or working_s > HOPELESS_S:
        return limit
    need = math.ceil(min(working_s, LONGEST_S) / per_request_s)
    return max(limit, min(need, LONGEST_FACTOR * limit))
