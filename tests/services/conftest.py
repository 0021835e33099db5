"""Drives real services on loopback without pytest around them."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.processes import tree
from pytest_leakguard.services import sampler, session
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.services.shared_files import SharedFiles
from pytest_leakguard.verdict import Judged, Policy, judge_check

STUB = Path(__file__).with_name("stub.py")


def stub(mode: str, **more: Any) -> ServiceTarget:
    return ServiceTarget((sys.executable, str(STUB), "{port}", mode), **more)


@pytest.fixture(autouse=True)
def files_of_other_tests(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What tests that run beside this one make in shared memory is not this service's."""
    if "shared" not in request.node.name:
        monkeypatch.setattr(sampler, "SharedFiles", lambda: SharedFiles(tmp_path))


class Bench:
    """Runs loops and keeps the checks."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        ids = itertools.count()
        self.context = session.Context(Settings(), lambda: f"check{next(ids)}", self.finish)

    def finish(self, check: Check) -> Judged:
        self.checks.append(check)
        return self.judged

    @property
    def judged(self) -> Judged:
        return judge_check(self.checks[-1], Policy())

    def run(
        self,
        target: ServiceTarget,
        work: object = ("GET /orders/7",),
        requests: int = 2000,
        **options: Any,
    ) -> Judged:
        with session.serve(
            target, self.context, live_heap=options.pop("live_heap", True)
        ) as served:
            served.loop(work, requests, **options)
        return self.judged


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Fails when anything of a service is left."""
    before = set(tree.below(os.getpid()))
    yield Bench()
    left = set(tree.below(os.getpid())) - before
    assert not left, [tree.command(pid) for pid in left]


@pytest.fixture
def make_stub() -> Callable[..., ServiceTarget]:
    return stub
