"""When to read a driven service again, so that reading costs little. Numbers only, no I/O.

Its constants are about cost; those on which the answer depends are in ``growth.thresholds``.
"""

from __future__ import annotations

import math

from pytest_leakguard.growth import thresholds

MOST_SHARE = 0.02
"""Upper limit of what sampling may take of the loop's time before the report says so."""
READINGS_SHARE = 0.010
"""Upper limit of what readings may take of the requests' time, unless a verdict would lack them;
half of ``MOST_SHARE``, as the last reading and liveness checks are not put off."""
CHECKPOINTS_SHARE = 0.002
"""Upper limit of what checkpoints may take of the requests' time; one that confirms a leak is not
put off."""
LONGEST_FACTOR = 20
"""Upper limit of the length of a run that is extended so that its readings cost little, as a
multiple of the requests that were asked for."""
LONGEST_S = 15.0
"""Upper limit of the requests' time in a run that is extended, in seconds."""
HOPELESS_S = 45.0
"""A run is not extended where its readings would cost little only after so many seconds, as those
of a JVM: it would cost time and change little."""
_EXTENDED_SHARE = 0.013
"""Upper limit of what readings and checkpoints may take of an extended run's time."""
_CHECKPOINTS_S = 0.003
"""Time of three checkpoints, in seconds."""
_LIVENESS_CHECKS = 100
"""Liveness checks in a run of the usual length; each takes microseconds."""
_FINEST = 0.025
"""Least distance of two readings, as a share of the requests so far."""
_LEAST_GAP = 4
"""Least distance of two readings, in requests."""
BATCH = 10
"""Least number of requests in a batch whose blocks are counted."""
FREQUENT_UNTIL = 600
"""Requests until which batches are short even where readings are dear."""
_LONGEST_BATCH = 60
"""Upper limit of the requests in a batch, unless there are many batches already; a leak in one
request of a hundred is then in every other one."""
_BATCHES_SO_FAR = 30
"""Batches whose length the next one has, later on: as many as tell a leak from a cache."""
_BATCHES_LATE = 20
"""Part of the requests so far that a later batch may have, a twentieth, where readings are dear; a
limit that is reached shows in a twelfth."""
_LIKELY_READINGS = 10
"""Readings between now and the end of a service that grows much, when each comes a tenth of the
requests later, so that it can be judged wherever it ends."""


def affordable_at(
    done: int, working_s: float, spent_s: float, cost_s: float, share: float
) -> float:
    """Return the request from which on one more reading keeps all of them within ``share``.

    ``spent_s`` is what they have cost in the ``done`` requests so far, which took ``working_s``
    seconds; the next one costs ``cost_s``.
    """
    if done <= 0 or working_s <= 0:
        return 0.0
    return done * (spent_s + cost_s) / (share * working_s)


def next_reading(done: int, affordable: float, limit: int) -> int:
    """Return the request to read after: once affordable, unless a verdict would lack readings.

    ``limit`` is the most requests the run may have.
    """
    # Finer would be dear and show no more, as windows grow with the run.
    earliest = done + max(_LEAST_GAP, int(done * _FINEST))
    # Later, and the run would end with too few readings for any answer.
    latest = done + max(_LEAST_GAP, limit // thresholds.LEAST_READINGS)
    return min(max(earliest, math.ceil(affordable)), max(earliest, latest))


def next_batch_end(done: int, affordable: float, limit: int) -> int:
    """Return the request at which a batch ends whose blocks are counted one by one.

    At first often, whatever it costs: that ends the run within hundreds of requests.
    """
    earliest = done + max(BATCH, done // _BATCHES_SO_FAR)
    if done < FREQUENT_UNTIL:
        return earliest
    longest = max(_LONGEST_BATCH, done // _BATCHES_LATE)
    latest = done + min(longest, max(BATCH, limit // thresholds.LEAST_READINGS))
    return min(max(earliest, math.ceil(affordable)), max(earliest, latest))


def likely_end(done: int, limit: int) -> int:
    """Return where a service that grows much may end, so that it has readings wherever it does."""
    return min(limit, thresholds.LEAST_READINGS * done // _LIKELY_READINGS)


def liveness_check_after(limit: int) -> int:
    """Return the requests between two liveness checks of the processes."""
    return max(_LEAST_GAP, min(limit, thresholds.USUAL_REQUESTS) // _LIVENESS_CHECKS)


def extended(limit: int, per_request_s: float, cost_s: float) -> int:
    """Return how many requests make the least number of readings, of ``cost_s`` each, cheap."""
    working_s = (thresholds.LEAST_READINGS * cost_s + _CHECKPOINTS_S) / _EXTENDED_SHARE
    if per_request_s <= 0 or working_s > HOPELESS_S:
        return limit
    need = math.ceil(min(working_s, LONGEST_S) / per_request_s)
    return max(limit, min(need, LONGEST_FACTOR * limit))
