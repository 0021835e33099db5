"""What a service has gained besides memory is named while it runs: path, peer, command, process."""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Any

import pytest

from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.processes import tree
from pytest_leakguard.processes.holdings import holdings
from pytest_leakguard.services.resources import gained

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="services are measured through /proc"
)


def test_leaked_descriptors_are_named_with_their_path_and_process(
    bench: Any, make_stub: Any
) -> None:
    judged = bench.run(make_stub("fds"), requests=300)
    (finding,) = judged.check.findings
    named = [text for text in finding.details if " x /dev/null in process " in text]
    assert len(named) == 1 and "stub.py" in named[0]
    (leak,) = [one for one in judged.check.diagnosis.hypotheses if one.letter == "A"]
    assert "/proc/PID" not in leak.next_step


def test_leaked_children_are_named_with_their_command(bench: Any, make_stub: Any) -> None:
    judged = bench.run(make_stub("children20"), requests=600)
    details = [text for finding in judged.check.findings for text in finding.details]
    assert any("child 'sleep 300' in process " in text for text in details), details


def test_children_that_ended_and_that_nobody_waited_for_are_named() -> None:
    before = holdings([os.getpid()])
    child = os.posix_spawn("/bin/true", ["true"], {})
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended, and stays
        assert child in tree.not_waited_for([os.getpid()])
        assert child not in tree.below(os.getpid()) and not tree.is_alive(child)
        (found,) = gained(MetricName.PROCESSES, before, holdings([os.getpid()]))
    finally:
        os.waitpid(child, 0)
    assert dict(found.names)["child 'true (ended, not waited for)'"] == 1
    assert child not in tree.not_waited_for([os.getpid()], known=())


def test_sockets_are_named_by_their_peer_and_threads_by_their_name() -> None:
    pids = [os.getpid()]
    before = holdings(pids)
    go_on = threading.Event()
    threads = [threading.Thread(target=go_on.wait, name=f"mail-{i}") for i in range(4)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        taken = [server.accept()[0] for _ in callers]
        for thread in threads:
            thread.start()
        taken[0].close()
        after = holdings(pids)
        for one in (*callers, *taken):
            one.close()
        go_on.set()
        for thread in threads:
            thread.join()
    (found,) = gained(MetricName.DESCRIPTORS, before, after)
    names = dict(found.names)
    assert found.pid == os.getpid()
    assert names[f"tcp connection from 127.0.0.1 to its port {port}"] == 4
    assert names[f"tcp connection to 127.0.0.1:{port}"] == 4
    closed = f"tcp connection to 127.0.0.1:{port}, which the other end has closed"
    assert names[closed] == 1
    (found,) = gained(MetricName.THREADS, before, after)
    assert sum(count for _, count in found.names) == 4
