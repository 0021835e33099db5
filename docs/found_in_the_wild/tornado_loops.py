"""tornado 6.6.1: its test ``RunnerGCTest.test_multi_moment`` never closes its event loop.

``IOLoop._ioloop_for_asyncio`` holds every loop until it is closed, so that neither the loop nor
its three descriptors (epoll and the two ends of a socket pair) are ever given back. The tests
before it in the same class close theirs.

    pip install tornado==6.6.1 && python tornado_loops.py
"""

import gc
from pathlib import Path

from tornado import gen
from tornado.ioloop import IOLoop


def multi_moment() -> None:
    """What the test does, without its assertion."""

    @gen.coroutine  # type: ignore[misc, unused-ignore]
    def wait_a_moment():  # type: ignore[no-untyped-def]
        result = yield gen.multi([gen.moment, gen.moment])
        raise gen.Return(result)

    loop = IOLoop(make_current=False)
    loop.run_sync(wait_a_moment)


def multi_moment_and_close() -> None:
    """As the tests before it do."""
    loop = IOLoop(make_current=False)
    loop.close()


def descriptors() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


for work in (multi_moment_and_close, multi_moment):
    work()
    descriptors_before, loops_before = descriptors(), len(IOLoop._ioloop_for_asyncio)
    for _ in range(100):
        work()
    opened = descriptors() - descriptors_before
    loops = len(IOLoop._ioloop_for_asyncio) - loops_before
    print(f"{work.__name__}, 100 times: {opened} descriptors and {loops} loops stay")
