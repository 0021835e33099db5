"""What one run leaves behind in Python's own containers, or does not."""

from __future__ import annotations

import array
import itertools
import random
import sqlite3
import types
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

COUNTER = itertools.count()


class Session:
    open_sessions: list[Session] = []  # noqa: RUF012 - that every instance shares it is the leak

    def __init__(self, user: int) -> None:
        self.user = user


# ---------------------------------------------------------------- beside what is pruned now and then

DATABASE = sqlite3.connect(":memory:", check_same_thread=False)
ROWS: list[bytearray] = []


def leak_beside_shared_sqlite_connection() -> None:
    for number in range(4):
        DATABASE.execute("select ?", (number,))
    ROWS.append(bytearray(100))


def clean_shared_sqlite_connection() -> None:
    for number in range(4):
        DATABASE.execute("select ?", (number,)).fetchall()


ACTIVE: weakref.WeakSet[Session] = weakref.WeakSet()
TICKETS: list[bytes] = []


def leak_beside_weak_set() -> None:
    session = Session(next(COUNTER))
    ACTIVE.add(session)
    TICKETS.append(bytes(60))


def clean_weak_set() -> None:
    session = Session(next(COUNTER))
    ACTIVE.add(session)


LOG: list[tuple[str, int]] = []
AUDIT: list[bytes] = []


def leak_beside_log_buffer() -> None:
    LOG.append(("request", next(COUNTER) + 1000))
    if len(LOG) >= 50:
        LOG.clear()
    AUDIT.append(bytes(200))


BATCH: list[dict[str, int]] = []


def clean_batch_flushed_at_700() -> None:
    BATCH.append({"number": next(COUNTER)})
    if len(BATCH) >= 700:
        BATCH.clear()


# ---------------------------------------------------------------- growth of what was there before

RECEIVED = bytearray()


def leak_growing_bytearray() -> None:
    RECEIVED.extend(b"x" * 24)


TICKS: list[None] = []


def leak_growing_list() -> None:
    TICKS.append(None)


VISITS: dict[int, None] = {}


def leak_growing_dict() -> None:
    VISITS[next(COUNTER) + 100_000] = None


SAMPLES = array.array("d")


def leak_growing_array() -> None:
    SAMPLES.append(0.5)


DELAYS: deque[bool] = deque()


def leak_growing_deque() -> None:
    DELAYS.append(True)


LINES = bytearray()


def clean_bytearray_emptied_at_60_000() -> None:
    LINES.extend(b"x" * 400)
    if len(LINES) > 60_000:
        LINES.clear()


# ---------------------------------------------------------------- holders of other kinds


def leak_class_attribute() -> None:
    Session.open_sessions.append(Session(next(COUNTER)))


def remember(item: object, seen: list[object] = []) -> None:  # noqa: B006 - the default is the leak
    seen.append(item)


def leak_default_argument() -> None:
    remember(bytes(90))


class Bus:
    def __init__(self) -> None:
        self.listeners: list[Callable[[], int]] = []


class Application:
    def __init__(self) -> None:
        self.bus = Bus()


APPLICATION = Application()


def leak_closure_listener() -> None:
    payload = bytes(1000)
    APPLICATION.bus.listeners.append(lambda: len(payload))


class Widget:
    def __init__(self) -> None:
        self.pixels = bytes(64)

    def redraw(self) -> int:
        return len(self.pixels)


REDRAW: dict[int, Callable[[], int]] = {}


def leak_bound_method_listener() -> None:
    REDRAW[next(COUNTER)] = Widget().redraw


ERRORS: list[BaseException] = []


def leak_exception_with_traceback() -> None:
    payload = bytes(700)
    try:
        raise ValueError(len(payload))
    except ValueError as error:
        ERRORS.append(error)


def clean_exception_dropped() -> None:
    payload = bytes(700)
    try:
        raise ValueError(len(payload))
    except ValueError as error:
        cycle: dict[str, object] = {"error": error}
        cycle["self"] = cycle


def readings() -> Iterator[int]:
    data = bytes(300)
    yield len(data)
    yield 0


STREAMS: list[Iterator[int]] = []


def leak_generator_never_finished() -> None:
    stream = readings()
    next(stream)
    STREAMS.append(stream)


def clean_generator_dropped() -> None:
    next(readings())


class Plugin:
    registry: dict[str, type] = {}  # noqa: RUF012 - as registries of subclasses are written

    def __init_subclass__(cls) -> None:
        Plugin.registry[f"{cls.__name__}-{next(COUNTER)}"] = cls


def leak_class_per_run() -> None:
    type("Made", (Plugin,), {})


class Model:
    pass


def clean_class_per_run() -> None:
    type("Made", (Model,), {"field": 1})


class Connection:
    pass


STATE: weakref.WeakKeyDictionary[Connection, list[Connection]] = weakref.WeakKeyDictionary()


def leak_weak_key_with_strong_value() -> None:
    connection = Connection()
    STATE[connection] = [connection]


NOTES: weakref.WeakKeyDictionary[Connection, bytes] = weakref.WeakKeyDictionary()


def clean_weak_key() -> None:
    NOTES[Connection()] = bytes(100)


LASTING = Connection()
WATCHES: list[weakref.ref[Connection]] = []


def leak_weakref_callback() -> None:
    payload = bytes(250)
    WATCHES.append(weakref.ref(LASTING, lambda _: print(len(payload))))


def clean_weakref_callback() -> None:
    gone: list[int] = []
    connection = Connection()
    watch = weakref.ref(connection, lambda _: gone.append(1))
    del connection
    assert gone and watch() is None


class Link:
    def __init__(self, payload: bytes, following: Link | None) -> None:
        self.payload = payload
        self.following = following


DEEP: list[Link] = []


def leak_behind_a_chain_of_20() -> None:
    link = Link(bytes(500), None)
    for _ in range(19):
        link = Link(b"", link)
    DEEP.append(link)


class Phoenix:
    ashes: list[Phoenix] = []  # noqa: RUF012 - shared by all

    def __del__(self) -> None:
        Phoenix.ashes.append(self)


def leak_resurrected_object() -> None:
    Phoenix()


def render(number: int) -> int:
    return number


HELPERS = types.SimpleNamespace(render=render)


def leak_wrapped_again_and_again() -> None:
    inner: Callable[[int], int] = HELPERS.render

    def traced(number: int) -> int:
        return inner(number)

    HELPERS.render = traced


def clean_wrapped_and_restored() -> None:
    original = HELPERS.render
    HELPERS.render = lambda number: original(number)
    HELPERS.render = original


def leak_two_causes() -> None:
    FIRST.append(bytes(500))
    SECOND[f"key {next(COUNTER)}"] = bytearray(40)


FIRST: list[bytes] = []
SECOND: dict[str, bytearray] = {}

FILE_BYTES = 100_000_000
WHOLE_FILES: list[bytes] = []


def leak_100_megabytes() -> None:
    WHOLE_FILES.append(bytes(FILE_BYTES))


def clean_100_megabytes() -> None:
    bytes(FILE_BYTES)


# ---------------------------------------------------------------- clean, but noisy

RANDOM = random.Random(20)


def _tree(depth: int) -> list[Any]:
    if depth == 0:
        return [RANDOM.random()]
    return [_tree(depth - 1) for _ in range(RANDOM.randrange(1, 4))]


TREES: dict[int, list[Any]] = {}


def clean_random_trees() -> None:
    TREES[RANDOM.randrange(12)] = _tree(4)


WINDOW: list[float] = []


def clean_sorted_window_that_breathes() -> None:
    WINDOW.extend(RANDOM.random() for _ in range(RANDOM.randrange(40)))
    WINDOW.sort()
    del WINDOW[RANDOM.randrange(1, 100) :]


def clean_cycles() -> None:
    first, second = Link(bytes(50), None), Link(bytes(50), None)
    first.following, second.following = second, first


TOGGLED: dict[str, bytes] = {}


def clean_toggled_entry() -> None:
    if "entry" in TOGGLED:
        del TOGGLED["entry"]
    else:
        TOGGLED["entry"] = bytes(900)


TOTALS: dict[str, Any] = {"calls": 0, "text": ""}


def clean_statistics() -> None:
    TOTALS["calls"] += 100_000
    TOTALS["text"] = f"call {TOTALS['calls']}"


LAZY: list[bytes] = []


def clean_made_on_first_use() -> None:
    if not LAZY:
        LAZY.extend(bytes(30) for _ in range(2000))


PER_USER: defaultdict[str, deque[int]] = defaultdict(lambda: deque(maxlen=10))


def leak_bounded_queue_per_new_user() -> None:
    PER_USER[f"user {next(COUNTER)}"].append(1)
