"""Pending tasks are counted in every loop and thread, whatever list the interpreter keeps them in."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest

from pytest_leakguard.counters.tasks import PendingTasks


async def forever() -> None:
    await asyncio.sleep(3600)


@pytest.fixture
def loop_of_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def start(loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    async def begin() -> asyncio.Task[None]:
        return asyncio.ensure_future(forever())

    return asyncio.run_coroutine_threadsafe(begin(), loop).result()


def cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    async def end() -> None:
        task.cancel()
        await asyncio.wait([task])

    asyncio.run_coroutine_threadsafe(end(), loop).result()


def test_a_task_in_the_loop_of_another_thread_counts_until_it_is_done(
    loop_of_a_thread: asyncio.AbstractEventLoop,
) -> None:
    tasks = PendingTasks()
    before = tasks.count()
    task = start(loop_of_a_thread)
    there = tasks.count()
    cancel(loop_of_a_thread, task)
    assert (there - before, tasks.count() - before) == (1, 0)


def test_a_task_that_is_frozen_meanwhile_counts_once(
    loop_of_a_thread: asyncio.AbstractEventLoop,
) -> None:
    tasks = PendingTasks()
    task = start(loop_of_a_thread)
    before = tasks.count()
    gc.freeze()
    frozen = tasks.count()
    gc.unfreeze()
    assert (frozen, tasks.count()) == (before, before)
    cancel(loop_of_a_thread, task)


def test_a_task_that_is_done_and_kept_is_not_pending() -> None:
    async def main() -> tuple[int, int, object]:
        tasks = PendingTasks()
        before = tasks.count()
        task = asyncio.ensure_future(asyncio.sleep(0))
        await task
        return before, tasks.count(), task

    before, after, _ = asyncio.run(main())
    assert after == before
