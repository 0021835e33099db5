"""Every number that the judgement of growth rests on: what it limits, in which unit, and why.

"The study" is the growth study behind this product: 290 recorded runs of 13 services, 104 runs
recorded later of services not seen before, 147 clean runs and 67 recorded functions.
Modules read these names as ``thresholds.NAME``, so that one place decides. For each of them
``tests/growth/test_thresholds.py`` holds a case whose answer changes when the number moves.
"""

from __future__ import annotations

import math

KIB = 1024
"""Bytes in one kibibyte."""
MIB = 1024 * KIB
"""Bytes in one mebibyte."""

# Which samples count, and into how many windows they are cut.

LARGEST_READING = 2.0**63
"""Upper limit of a reading that is believed, in the reading's own unit; no counter of the kernel
goes beyond, so a larger one is damage, and would overflow in the arithmetic here."""
LEAST_DISTANCE = 1e-9
"""Least distance of two samples, as a share of the run, and least length of a run, in requests;
below, a rate per request is nothing but rounding error."""
MIN_WINDOWS = 11
"""Least number of windows in which a part of a run is judged; eleven have the ten rises between
them that ``SIGN_LEVEL`` asks for."""
LONGEST_TAIL = 0.75
"""Share of the run that the longest of the three judged tails covers; tails that scale with the
run leave warm-up behind without a number of requests that would have to be guessed."""
MIDDLE_TAIL = 0.5
"""Share of the run that the second tail covers, for services whose warm-up takes longer."""
LATEST_TAIL = 0.25
"""Share of the run that the last tail covers; growth that only this one shows began late."""
MIN_SAMPLES = math.ceil(MIN_WINDOWS / LONGEST_TAIL)
"""Least number of samples that are judged; evenly spread, so many leave ``MIN_WINDOWS`` in the
longest tail."""
TAIL_WINDOWS = 24
"""Windows that a tail is cut into, whose minima are compared; twice what the test needs, so that
some of them may hold a fall, and few enough for each to hold a collection of garbage."""
RUN_WINDOWS = 48
"""Windows that a whole run is cut into to find a step or the level before and after; twice as
fine as a tail, since a step is sharper than growth."""

# Whether a tail grows.

SIGN_LEVEL = 0.001
"""Upper limit of the chance of as many rises among fair changes (one-sided sign test); ten rises
without a fall pass. At the level before, 1 of the 147 clean runs was a leak; now none is."""
TREND_LEVEL = 1e-4
"""Upper limit of the chance of an upward trend (one-sided Mann-Kendall), for readings of the live
heap alone; the readings are not independent, so it is ten times stricter than ``SIGN_LEVEL``."""
TWO_STEPS_SHARE = 0.6
"""Upper limit of what the two largest rises of a tail may make up of all its rises; above, the
tail shows steps rather than growth."""
FIRST_HALF_PACE = 0.3
"""Least rate of a tail's first half, as a share of that of its second half; below, growth has
only just begun."""
SECOND_HALF_PACE = 0.6
"""Least rate of a tail's second half, as a share of that of its first half; below, growth ends.
Stricter than ``FIRST_HALF_PACE``, since a cache that fills is commoner than late growth."""
INTERVAL_BLOCKS = 8
"""Blocks of a tail whose rates give the confidence interval, about; of three windows each, since
neighbouring windows are less independent than blocks of them."""
LEAST_HALF_WIDTH = 0.05
"""Least half-width of the confidence interval, as a share of the slope; the choice of windows is
coarser than the scatter alone would claim."""

# What speaks against a leak although a tail grows.

FADED_QUARTER = 0.6
"""Growth has faded where the last quarter's rate is below this share of the third quarter's."""
FADED_TWO_QUARTERS = 0.4
"""Growth has faded where the last quarter's rate is below this share of the second quarter's; a
logarithm, the slowest of creeping caches, reaches 0.41 (0.58 times 0.71)."""
FADING_QUARTER = 0.8
"""Growth fades where each of the last two quarters' rates is below this share of the quarter's
before; a leak keeps a ratio of one."""
BENT_WINDOWS = 13
"""Windows that the longest tail is cut into to see whether growth bends; twelve rates between them
tell a bend from chance, and each spans enough samples for its own noise."""
BENT_ERRORS = 3.0
"""Least fall of the rate over the longest tail, in its standard errors, for growth that bends; the
chance of as much in a straight line of twelve rates is 0.7 %."""
BENT_SHARE = 0.75
"""Upper limit of the rate where the tail ends, as a share of that where it begins, for growth that
bends: a cache whose keys come again fills slower and slower, long before it fades. A real leak does
so too while an allocator finds its size, so that with the usual requests it is no matter."""
STOPPED_LEVEL = 0.01
"""Upper limit of the chance that growth as frequent as before pauses for so long; below, it has
stopped."""
STOPPED_STEP = 0.2
"""Least rise that counts as growth that goes on, as a share of the median rise before; a full
cache still ripples by less."""
STOPPED_FLOORS = 2.0
"""Least growth that must be missing since it stopped, in floors of the metric; with less, a rare
and large leak would be taken for one that has ended."""

RELEASED_SHARE = 0.2
"""Least fall below where a run began, as a share of what it had gained, for what was given back to
have been there before; a cache that is emptied falls to where it began."""

# What growth that is no leak is called. No leak depends on these.

WARM_UP = 0.05
"""Share of the run, from its first request, whose rise is the start of the service."""
FILLING = 0.15
"""Share of the run in which a cache may be filled within two windows; a step this early is a
burst only after a rest."""
REST_RISE = 0.1
"""Upper limit of the rise before a step, as a share of the step, for the time before it to count
as a rest."""
REST_WIDTH = 0.5
"""Least time between a rest and the step after it, as a share of the step's own width; without a
distance, the foot of a slope would be taken for the rest."""
BURST_SHARE = 0.5
"""Least share of all rise that one step must make up to be a burst."""
BURST_PAIR_SHARE = 0.8
"""Least share of all rise that two steps must make up to be bursts of two workers."""
SMALL_BURST = 0.25
"""Least size of a small burst, as a share of the metric's ``step``."""
SMALL_BURST_SHARE = 0.9
"""Least share of all rise that a small burst must make up."""

# What several series of one run say together.

BOOKKEEPING_BYTES = 256
"""Upper limit of the growth of memory that is explained by a counter that leaks, in bytes for
each leaked descriptor or thread; its object and its place in a list take about as much."""
FRAGMENTATION_OF_BASE = 0.2
"""Least rise of resident memory that is fragmentation, as a share of what was resident at first;
less is what allocators hold back in any program."""
FRAGMENTATION_HEAP_SHARE = 0.25
"""Upper limit of the live heap's rise, as a share of resident memory's, for fragmentation."""
HEAP_PACE = 0.5
"""Least rate of the live heap, as a share of resident memory's, for resident memory's growth to
stand; the study saw up to 2.3 resident bytes per live byte early in a run."""

# Each kind of reading: the smallest change it shows, and the growth that is evidence.

PAGE_BYTES = 4 * KIB
"""Smallest change of resident memory, in bytes: a page."""
RESIDENT_FLOOR_BYTES = 32 * KIB
"""Least rise of resident memory that is evidence, in bytes; eight pages."""
RESIDENT_SLACK_BYTES = 256 * KIB
"""Free heap that a leak fills before resident memory rises, in bytes for each process; the study
measured 20 to 215 KiB per service."""
HEAP_QUANTUM_BYTES = 256
"""Smallest change of a service's live heap that counts as a rise, in bytes; small
objects that a request replaces differ by less."""
HEAP_FLOOR_BYTES = 16 * KIB
"""Least rise of a live heap that is evidence, in bytes."""
SERVICE_HEAP_FLOOR_BYTES = 64 * KIB
"""Least rise of the live heap of a service that is driven here, in bytes; a warm interpreter
still gathers some 40 KiB over 2,000 requests."""
IN_PROCESS_QUANTUM_BYTES = 64
"""Smallest change of the heap of this process that counts as a rise, in bytes; coarser
than the 16 bytes that glibc rounds to."""
IN_PROCESS_FLOOR_BYTES = 6 * KIB
"""Least rise of the heap of this process that is evidence, in bytes."""
BLOCKS_FLOOR = 8
"""Least rise of allocated blocks that is evidence, in blocks; free lists move by a few."""
COUNTER_FLOOR = 5
"""Least rise of descriptors, threads or processes that is evidence, in their number."""
COUNTER_STEP = 32
"""Least rise of descriptors, threads or processes that is a burst, in their number."""
MACHINE_FLOOR_BYTES = 8 * MIB
"""Least rise of a whole machine's memory that is evidence, in bytes; other programs move it."""
MACHINE_STEP_BYTES = 64 * MIB
"""Least rise of a whole machine's memory that is a burst, in bytes; other programs start
and end."""
V8_FLOOR_BYTES = 8 * MIB
"""Least rise of V8's resident memory that is evidence where its live heap is not read, in bytes;
its collector lets the heap grow so far before it works harder."""
GO_FLOOR_BYTES = 5 * MIB
"""Least rise of a Go program's resident memory that is evidence, in bytes; its first collection
comes at 4 MiB of garbage and live memory."""
V8_YOUNG_BYTES = 32 * MIB
"""Least rise of a V8's resident memory that is a burst or fragmentation, in bytes: two halves of
up to 16 MiB (``--max-semi-space-size``) that it takes for new objects, each step doubling the
last."""
SETTLED_FLOORS = 4
"""Least rise that is worth the name of a cache or of warm-up, in floors of the metric."""
STEP_FLOORS = 32
"""Least rise between two windows that is a burst rather than filling, in floors of the metric,
for readings of memory; 1 MiB of resident memory."""

# Several processes that run the same program.

WORKERS_COMPARED_FROM = 0.5
"""Share of the run after which workers are compared; before, all of them warm up."""
WORKER_STANDS_STILL = 0.25
"""Upper limit of the busiest worker's growth per processor time, as a share of the others', for
it to stand still; a leak grows by as much in each of them, a full cache by nothing."""
WORKER_SAME_SIZE = 1.25
"""Upper limit of what another worker has gained, as a multiple of the busiest one's gain, for it
to fill up only; allocators of equal workers differ by so much."""

NEAR_LIMIT = 0.96
"""Share of a limit from which on a process has no room to grow; it fails, or closes some first."""

# What a reader is told.

SETTLED_SHARE = 0.9
"""Share of the rise by which filling is said to have ended."""
ALERT_SHARE = 0.85
"""Share of the memory limit of the forecast's first mark; the incident report's alert."""
SEVERE_SHARE = 0.95
"""Share of the memory limit of the forecast's second mark; the incident report's severe alert."""
USUAL_RATES_PER_S = (1.0, 10.0, 100.0)
"""Requests per second that a forecast is made for where no production rate is given."""

# When a run may end.

FIRST_CHECKPOINT_REQUESTS = 50
"""Requests before the first checkpoint; the least that the study looked after."""
CHECKPOINT_FACTOR = 1.25
"""Requests between two checkpoints, as a multiple of those so far; geometric, so that their
number, and with it the chance of a false answer, grows with the logarithm of the run."""
FIRST_CHECKPOINT_READINGS = 17
"""Readings before the first checkpoint; with so many the longest tail has ``MIN_WINDOWS`` even
where they are unevenly spread, and a leak seen there can still be confirmed."""
CONFIRMED_AFTER = 1.5
"""Requests after which a second checkpoint confirms a leak, as a multiple of those at the first
that saw it; a run that grows for another half of itself has a new middle tail."""
QUIET_BEFORE = 2.0
"""Upper limit of the leak that the checkpoint before the last could have missed in a quiet run,
as a multiple of the least leak worth waiting for."""
USUAL_REQUESTS = 5000
"""Upper limit of the requests of a run, where the caller gives none; the study's
budget, in which 63 runs of seven services got their answers."""
ALLOWANCE_BYTES = 8 * MIB
"""Least growth that ends a run as a leak before its budget, in bytes; ring buffers and
collectors of clean services grow so far at first."""
MIN_LEAK_BYTES = 256
"""A quiet run goes on until a leak of so many bytes per request would have shown in resident
memory, with a fixed set of requests."""
MIN_LEAK_UNIQUE_BYTES = 64
"""A quiet run goes on until a leak of so many bytes per request would have shown, where each
request may add an entry of its own."""
MIN_LEAK_HEAP_BYTES = 32
"""A quiet run goes on until a leak of so many bytes per request would have shown, where the live
heap is read; the least that the study found in 2,000 requests of a busy server."""
FIXED_REQUESTS = 20
"""Upper limit of distinct requests that settle key-driven caches at once, so that an early answer
is safe; the study made no false one in 31 runs."""

# How a service is driven, as far as the answer depends on it.

LEAST_READINGS = 28
"""Least number of readings of a run; evenly spread, they leave twenty-one in its longest tail and
fourteen in its middle tail, and each needs ``MIN_WINDOWS``."""
POOL_SIZE = 128
"""Upper limit of descriptors or threads that a service may keep on purpose; pools are mostly of
100 or less."""
CREEP_BYTES = 256 * KIB
"""Upper limit of the growth that must show in twice the requests too before it is a leak, in
bytes; an interpreter may gather so much, slower and slower."""
OWN_PROCESS_MOMENTS = 3
"""Least number of moments in a row at which a process must be seen to be one of the service's own
rather than one for a single request."""
RECYCLED_PROCESSES = 3
"""Least number of the service's own processes whose end is no accident: the server recycles its
workers, and what they gathered goes with them."""
LOAD_BATCHES = 30
"""Least number of runs of a load command; each is one reading, and ``LEAST_READINGS`` are needed
besides the first."""
UNCOUNTED_BATCHES = 60
"""Upper limit of runs of a load command that does not say how many requests it sent; each counts
as one request."""
LEAST_PYTHON_BYTES = 64
"""Least size of Python objects kept under memray that fails, in bytes for each request; free
lists and interned strings average to less."""

# What became of what each request batch had allocated, where that is counted to the byte.

AGED_AFTER_REQUESTS = 20
"""Requests of each client after which it is asked what a batch keeps: connections are renewed every
ten requests, and last values are replaced by then."""
AGED_WARM_UP = 0.25
"""Share of the run, from its first request, whose batches are not looked at; they load modules and
fill what is filled once."""
AGED_BATCHES = 9
"""Least number of batches that are looked at; one in two that keeps something by chance does so
nine times in a row in one run of 500."""
AGED_REQUESTS = 90
"""Least number of requests of the batches that are looked at."""
AGED_KEEPING = 0.9
"""Least share of batches that keep something for a leak in each request."""
AGED_KEPT = 0.95
"""Least share of what was kept at first and is still alive for a leak; a leak loses nothing."""
AGED_LOST = 0.6
"""Upper limit of the share of what was kept at first and is still alive for a cache; one that has
just become full has lost its oldest batches only."""
AGED_EVENTS = 6
"""Least number of batches that keep something for a leak in one request of many."""
AGED_SHORT_REQUESTS = 20
"""Upper limit of the requests in a batch that tells a leak in each request from one in many; of a
leak in one request of a hundred four in five such batches keep nothing."""
AGED_EVENT_SHARE = 0.1
"""Least size of what such a batch keeps, as a share of what those that keep most do."""
AGED_PARTS = 4
"""Parts of the run in each of which a leak in one request of many shows; what is done once and for
all shows in the first ones."""
AGED_ALIKE = 0.7
"""Least share of those batches that keep about as much as one another."""
AGED_QUIET_FROM = 0.35
"""Share of the run after which nothing may be kept for it to be quiet; before, services warm
up."""
AGED_BENEATH_FROM = 0.7
"""Share of the run after which old batches may lose nothing more for a leak beneath a cache."""
AGED_UNSEEN_BYTES = 64 * KIB
"""Upper limit of what resident memory may gain beyond the blocks' peak for an early end, in bytes
for each process: pages that are touched for the first time."""
AGED_LOOKS = 3
"""Looks in a row that have to see a leak for an early end."""
AGED_QUIET_LOOKS = 2
"""Looks in a row that have to see nothing kept for an early end."""
AGED_QUIET_REQUESTS = 150
"""Least number of late requests of which nothing may be kept; a leak in one request of a hundred
is among them."""
AGED_SURE_REQUESTS = 1100
"""Requests after which what is kept by each batch, and lost by none, is a leak. Until then a cache,
a ring of entries or a list that is handed over when it is full looks the same, whatever holds it;
the usual bounds end at 1,024, and one that is reached shows within a twelfth (``AGED_FULL``)."""
AGED_SURE_EMPTIED_REQUESTS = 6000
"""The same where the entries go to a container out of which source takes some, without a number
that says when; bounds of caches of a service's own end at 5,000."""
AGED_SURE_BYTES = 128 * MIB
"""The same in bytes that are kept; no cache has as much unless somebody has asked for it."""
AGED_LIMIT_SHOWS = 1.1
"""Requests after which a limit shows that a container says it has, as a multiple of those that fill
it; lately as much was lost then as was kept anew (``AGED_FULL``)."""
AGED_SURE_RARE_REQUESTS = 1500
"""Requests after which what is kept now and then is a leak: the rate of one in a hundred, of two
workers, is then known to a tenth."""
AGED_CHAINED_REQUESTS = 264
"""Requests after which a chain is a leak that only the newest block leads to, each to the one
before: whoever gives back the oldest first has a shorter way to it. One that is given back as a
whole, when it is long enough, mostly is so by 256."""
AGED_CHAINED_SHARE = 0.7
"""Least share of what the batches keep that is such a chain; a pointer that was left behind, on the
stack or in free memory, takes its batch out."""
AGED_SECONDS = 1.0
"""Time before a leak that something leads to ends a run, in seconds, with or without requests: a
timer of the service's own gives back what it gives back each second."""
AGED_OPEN_SECONDS = 6.0
"""The same where connections stay open at the service, in seconds: Hypercorn closes one whose
client is gone only when its time to be idle is over, which is 5 s there and with most others."""
AGED_SETTLED_REQUESTS = 300
"""Requests after which a run rests once where connections stay open and it is neither quiet nor a
leak; clean services whose connections are closed at once have ended after 280."""
AGED_OLDER = (0.5, 0.75)
"""Shares of the late requests, the older ones, of which nothing may be kept for the run to be quiet
although the last ones keep something; two, as what is cleared at intervals ages differently."""
AGED_YOUNG = 1.2
"""Upper limit of what the last batches keep, as a multiple of the most that older ones kept when
they were as young, for them to lose it too."""
AGED_LARGER_BYTES = 2 * KIB
"""Least size of what a batch keeps beyond any older one for it to be a buffer that grows, in bytes;
the objects of a connection, or of a timer, are fewer."""
AGED_LATELY = 0.1
"""Share of the run, up to its end, in which a bound that is reached shows: as much is lost then as
is kept anew."""
AGED_FULL = 0.5
"""Least share of what is kept anew that is lost of what was kept before, once a bound is reached; a
cache that has been full for half of ``AGED_LATELY`` has lost so much."""
AGED_LEAST_BYTES = 1.0
"""Least growth per request that is looked for, in bytes; below, a value of the program's own that
is replaced now and then, such as the time as text, keeps no run from its end."""
AGED_LOST_SHARE = 0.5
"""Least share of what batches have kept that nothing may lead to for it to be lost for good; old
pointers remain here and there, as in an allocator's own lists, and hide the rest."""
AGED_LOST_AGAIN = 1.5
"""Requests after which it is searched again for what leads to kept blocks, as a multiple of those
at the last search: it takes milliseconds."""
AGED_ASKED_FROM = 100
"""Least number of requests between two questions to an interpreter about its containers, the later
of which comes no earlier than after twice as many; what grows by chance has not grown in both."""
AGED_LISTS_FROM = 400
"""Requests after which a list that has taken an entry with each of them, and that no source is seen
to take any out of, is taken for one without an end; one that is cut elsewhere shows it by then."""
AGED_ENTRY_PACE = 0.8
"""Least number of entries for each request that a container has to take to hold what leaks."""

# Growth in ever larger steps, as of a buffer that doubles.

LARGER_STEPS = 4
"""Least number of steps; three in a row of the right size at the right time may be chance."""
LARGER_EVERY = 2
"""Least number of batches to a step; growth in each batch is no such growth."""
LARGER_SINCE = 16
"""Part of the run, from its first request, in which no step counts, a sixteenth: four times a
buffer doubles in the rest."""
LARGER_GAPS = 1.5
"""Least requests between the last steps, as a multiple of those between the first ones; what comes
at even distances is a leak in one request of many, or a pool."""
LARGER_LEAST = 0.2
"""Least size of a step, as a share of the largest before it; later ones are larger in theory, and
two may fall into one batch."""
LARGER_APART = 0.15
"""Upper limit of how far a step may be from the line through the first and the last, as a share of
the growth between them; a logarithm, as of a service that warms up, is 0.17 apart."""
LARGER_OVERDUE = 1.5
"""Requests without a step after which there comes no more, as a multiple of those expected."""

# Recorded series: restarts, cycles, two groups.

PIECE_SAMPLES = 15
"""Least number of samples between two restarts; a collector's teeth are shorter, and fewer samples
than ``MIN_SAMPLES`` are not judged."""
RESTART_FALL = 0.8
"""Least fall from one sample to the next that may be a restart, as a share of what was gained."""
RESTART_LEFT = 0.2
"""Upper limit of what a restart leaves of the gain, as a share of it."""
RESTART_OF_START = 0.1
"""Least gain that a restart takes back, as a share of what the first piece began with."""
RESTART_RISE = 0.5
"""Least rise from one sample to the next, as a share of the usual fall, that says that traffic
comes and goes rather than that processes restart."""
CYCLES_NEEDED = 2.0
"""Least length of a recording in which a cycle is looked for, in periods."""
CYCLE_SAMPLES = 6
"""Least number of samples in a period; with fewer its mean depends on where they fall."""
CYCLE_ALIKE = 0.4
"""Least correlation of a series, without its trend, with itself one period later."""
COMPARED_BLOCKS = 16
"""Blocks of a series between which growth is compared; at least half of them have to be there."""
COMPARED_ERRORS = 2.1
"""Half-width of the interval of a difference, in standard errors; Student's t at 97.5 % for some
twenty blocks."""
CALMED_SAMPLES = 100
"""Samples that are left of a recording whose cycle was taken out, about; twice as many as
``RUN_WINDOWS``."""
NOISE_FLOORS = 4.0
"""Least rise that is evidence in a series from which a cycle was taken, in deviations of one sample
from the next."""
