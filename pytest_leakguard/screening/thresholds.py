"""Every number that screening decides by, with unit and reason. Tests fail when one moves."""

from pytest_leakguard.core import checks

SUSPECT_AFTER = 4
"""Repeated runs, each of which must have left something that is still there, that make a suspect.

Three of them are older than the last one. A replaced value is gone after two, what is made on first
use after one; more runs only take more time.
"""
BUFFER_PATIENCE = 24
"""Repeated runs without anything left that clear a test which has only resized an older buffer.

CPython's lists of up to 64 items are resized after 4 or 8 more items (``list_resize``): in 24 runs
that add one item each at least three times.
"""
SCARCE_PROOF = 8
"""Runs with a descriptor, thread, process or file that stays which prove a leak not in every run.

A pool of connections or workers in a test is mostly smaller; the process's limit is far larger.
Where every run keeps one, their pace takes longer to see: 11 runs, by ``LEAST_STEPS``.
"""
LEAST_RUNS = 24
"""Runs that must have kept their blocks before a test counts as leaking, however long a run
takes."""
MOST_RUNS = 4_200
"""Runs after which what every run has kept is a leak: more than a cache of 4,000 entries takes."""
DOUBTFUL_RUNS = 600
"""Runs that must have kept the same when the time is over, where Python holds it and nothing
becomes longer.

A chain of objects does not; nor does a ring, whose places are mostly fewer.
"""
MOST_RUNS_OF_LOOP = 20_000
"""The same for a loop, which has nothing else to do: more than a cache of 10,000 entries takes."""
CONFIRMING_S = 0.6
"""Computing time in seconds after which a suspect needs no more than ``LEAST_RUNS``.

A leaking quick test may cost one second in all, with its explanation.
"""
CHUNK_S = 0.1
"""Seconds that one chunk of runs may take, so that limits of time and memory are looked at in
between."""
BUFFER_EVENTS = 3
"""Runs among these that must have resized it again, for a suspect."""
STEADY_SHARE = 0.9
"""Share of the earlier pace that the later one must have, in the later half of the runs.

A leak's is the same. What grows as a logarithm has 0.78 of it, as a square root 0.88; a cache that
fills with keys that come by chance keeps ever less.
"""
UNEVEN_RUNS = 2_100
"""Runs that must have kept something where they do not keep the same, when the time is over before
``MOST_RUNS``.

Only the trend tells a leak from a cache that fills with keys that come by chance, and it takes more
runs to see.
"""
LARGER_EACH_TIME = 8
"""Runs that must each leave more than the one before, where nothing of an earlier one is left.

What is replaced by something of another length is longer so often in one of 40,320 tests.
"""
EXHAUSTING_RUNS = 3
"""Runs that must each have kept as much, when what they keep is as large as the process's limits
allow for few."""
EVER_SLOWER = 1.5
"""Times that a run takes longer than the one before, when it goes through what the runs have
piled up."""
SLOWEST_SHARE = 1 / 3
"""Share of all the time that the last runs must have taken for that; otherwise there is time for
more."""
RARE_EVENTS = 4
"""Runs with survivors, none of which ever goes, that make a suspect of a leak which is not in every
run."""
RARE_PROOF = 12
"""Such runs that prove it, when they do not become rarer."""
FIRST_RUNS = 3
"""Repeated runs whose survivors say nothing about rare leaks: what is made on first use comes
then."""
MEMORY_LIMIT_BYTES = 256 * 1024**2
"""Bytes that the runs of one confirmation may keep before it ends with the runs there were."""
"""A test that keeps 100 MB per run must not end the process."""
SPARE_SHARE = 0.04
"""Share of a suite's own time for more runs of cleared tests, which look for rare leaks."""
SPARE_RUNS = 45
"""Runs of each test of a small suite that look for rare leaks: every 13th shows three times, every
40th once."""
SPARE_FACTOR = 3.0
"""By which the time for them may be exceeded to make so many runs, or the machine's load would
decide."""
SPARE_S = 0.2
"""Seconds for that in any suite, however short: all tests of a small suite share them."""
SPARE_TESTS = checks.SMALL_SUITE_TESTS
"""Tests in a suite that is small enough to look for rare leaks in each."""
SPARE_OF_EVENT_S = 0.5
"""Seconds for one test in which a later run has left something."""
"""Enough for every 40th run of a quick test to show ``RARE_EVENTS`` times."""
EXACT_SHARE = 0.75
"""Share of the single runs that must have kept the same, for it to be what one run keeps.

The others have a list resized, or a cache of the library filled, beside the leak.
"""
LOOP_CALLS = 1_500
"""Calls of a loop without growth after which it is clean; every hundredth then shows 15 times."""
LOOP_CHUNKS = 24
"""Numbers that these calls are divided into."""
LAST_RUNS = 9
"""Runs one by one at the end of a confirmation, whose most common loss is what one run keeps.

By then small integers, shared keys of instances and tables of dictionaries no longer differ.
"""
SETTLING_STEPS = 8
"""Numbers that the runs after these are divided into."""
CONFIRMATIONS_S = 60.0
"""Seconds of computing for all confirmations of a session; as much as the suite itself takes, if
that is more."""
LEAST_STEPS = 2
"""Numbers in each third of the later half of the runs, before their pace says anything."""
STEPS_IN_ALL = 24
"""Parts of the runs so far that the next chunk is one of, so that each third of the later half has
four."""
SILENCE = 3
"""Calls without a loss, as a multiple of the longest time between two losses, after which losses
have stopped.

At random times the longest of a dozen is two or three times the mean; that none comes in nine times
it is rare.
"""
RARE_SHARE = 0.5
"""Of the losses in the first third of the runs, the last third must have at least this share."""
FREQUENT_SHARE = 0.3
"""Share of the runs with a loss above which a leak is not taken for rare without ``MOST_RUNS``."""
FEWER_SIGMAS = 2.0
"""Standard deviations by which the losses of the last third may be fewer than those of the first,
as by chance."""
NEWER_EVENTS = 8
"""Losses that are all in the newer half of the runs, which means that older ones are gone: by
chance 1 in 256."""
RARE_LATE_EVENTS = 3
"""Losses that the last third of the runs must have at least."""
RARE_S = 2.0
"""Computing time in seconds for the confirmation of what is not in every run; after that it is said
to be open."""
CONFIRMATION_S = 2.0
"""Seconds that each suspect adds to that: most are confirmed and explained in less than one."""
FLAT_AFTER = 200
"""Calls after which runs that together keep no more than before are cleared; fewer may have had one
table freed."""
LEAST_PER_CALL = 0.5
"""Blocks that all runs together must gain per call: of what every run keeps, each keeps one at
least."""
