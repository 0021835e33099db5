"""What is made of a service's series as a whole."""

from __future__ import annotations

import pytest

from pytest_leakguard.services.timeline import Timeline

MIB = 2**20


@pytest.mark.parametrize(("runtime", "shape"), [("v8", "cache"), ("", "fragmentation")])
def test_the_room_that_v8_takes_for_new_objects_is_no_fragmentation(
    runtime: str, shape: str
) -> None:
    requests = [1000.0 * n for n in range(33)]
    room = [8.0 * MIB + (2 * MIB if n < 16 else 18 * MIB) * min(n, 20) / 20 for n in range(33)]
    timeline = Timeline(requests=requests, runtime=runtime)
    timeline.series = {"private_bytes": [*room], "heap_bytes": [5.0 * MIB] * 33}
    assert timeline.judge().shape == shape
