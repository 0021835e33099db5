"""Control groups of a memory limit: made where they may be, proved to take processes, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_leakguard.processes import cgroup

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")


def test_there_is_no_group_where_none_may_be_made(tmp_path: Path) -> None:
    """An empty directory in place of the cgroup file system: no ``cgroup.subtree_control``, no parents."""
    assert cgroup.create(1 << 30, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_group_takes_processes_and_leaves_nothing_behind() -> None:
    group = cgroup.create(64 << 20)
    if group is None:
        pytest.skip("no control group may be made here; services are then limited by supervision")
    try:
        join = f"echo 0 > {group.path}/cgroup.procs && exec {sys.executable} -c 'x = bytearray(200 << 20)'"
        status = subprocess.run(["/bin/sh", "-c", join], timeout=60).returncode
        assert status == -9
        assert group.kills() == 1
    finally:
        group.close()
    assert not group.path.exists()


def test_the_group_of_a_pytest_that_was_killed_is_removed_by_the_next() -> None:
    group = cgroup.create(64 << 20)
    if group is None:
        pytest.skip("no control group may be made here")
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    orphan = group.path.with_name(f"leakguard-{gone.pid}-1")
    orphan.mkdir()
    mine = group.path.with_name(f"leakguard-{os.getpid()}-999")
    mine.mkdir()
    group.close()
    again = cgroup.create(64 << 20)
    assert again is not None
    again.close()
    assert not orphan.exists()
    assert mine.exists()
    mine.rmdir()
