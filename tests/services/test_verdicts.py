"""Live services with a known way of growing, and with every way of breaking."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.errors import LeakguardError, UsageProblem
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.processes import cgroup, tree
from pytest_leakguard.services import load as drive
from pytest_leakguard.services import session
from pytest_leakguard.services.launch import ServiceNotReady, ServiceTarget
from pytest_leakguard.services.readiness import free_port

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="services are measured through /proc"
)
APPS = Path(__file__).parents[2] / "sample_apps" / "services"
Make = Callable[..., ServiceTarget]


def test_a_leak_is_found_with_its_rate_and_a_forecast(bench: Any, make_stub: Make) -> None:
    judged = bench.run(make_stub("leak"), rate=40.0, memory_limit_bytes=512 << 20)
    check = judged.check
    assert judged.outcome is Outcome.LEAK
    assert (check.kind, check.diagnosis.shape) == ("service", "leak")
    (finding,) = check.findings
    assert finding.kind is LeakKind.GROWTH
    assert finding.rate.per_iteration == pytest.approx(20 * 1024 + 50, rel=0.05)
    assert check.diagnosis.iterations < 2000  # stopped early
    marks = check.diagnosis.marks
    assert [mark.share for mark in marks] == [0.85, 0.95]
    assert marks[0].seconds == pytest.approx(
        (0.85 * (512 << 20) - check.diagnosis.current_bytes) / 20500 / 40, rel=0.2
    )


def test_a_clean_service_is_clean_and_the_sensitivity_is_said(bench: Any, make_stub: Make) -> None:
    judged = bench.run(make_stub("clean"))
    told = [
        (one.metric, one.shape, one.rise, one.detectable_per_iteration)
        for one in judged.check.growth
    ]
    assert judged.outcome is Outcome.CLEAN, (judged.reasons, told)
    heap = next(one for one in judged.check.growth if one.metric == "heap_bytes")
    assert heap.detectable_per_iteration < 400, told  # 33 at rest; a loaded machine adds noise
    assert any("live heap read in 1 of 1" in fact for fact in judged.check.diagnosis.facts)


def test_a_bounded_cache_is_no_leak(bench: Any, make_stub: Make) -> None:
    judged = bench.run(make_stub("cache"))
    assert judged.outcome is Outcome.CLEAN
    assert judged.check.diagnosis.shape == "cache"
    assert judged.check.diagnosis.settled_at is not None


def test_leaked_descriptors_are_named(bench: Any, make_stub: Make) -> None:
    judged = bench.run(make_stub("fds"))
    assert [finding.kind for finding in judged.check.findings] == [LeakKind.FILE_DESCRIPTORS]
    assert any("device" in fact for fact in judged.check.diagnosis.facts)


def test_without_a_live_heap_the_report_says_what_cannot_be_seen(
    bench: Any, make_stub: Make
) -> None:
    judged = bench.run(make_stub("leak"), live_heap=False)
    assert judged.outcome is Outcome.LEAK
    assert {one.metric for one in judged.check.growth} >= {"private_bytes", "rss", "fds", "threads"}
    assert "heap_bytes" not in {one.metric for one in judged.check.growth}
    assert any(
        "no live heap" in fact and "cannot be told" in fact for fact in judged.check.diagnosis.facts
    )


def test_failing_requests_are_inconclusive(bench: Any, make_stub: Make) -> None:
    judged = bench.run(make_stub("clean"), ["GET /orders/7", "GET /broken"])
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "GET /broken answered 500" in judged.reasons[0]
    assert (
        bench.run(make_stub("clean"), ["GET /broken -> 500"], requests=200).outcome
        is not Outcome.INCONCLUSIVE
    )


def test_too_few_requests_are_undecided_and_no_pass(bench: Any, make_stub: Make) -> None:
    judged = bench.run(make_stub("clean"), requests=10)
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "undecided" in judged.reasons[0]


def get_order(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(b"GET /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        while connection.recv(4096):
            pass


def test_a_callable_and_concurrency(bench: Any, make_stub: Make) -> None:
    calls: list[int] = []
    with session.serve(make_stub("clean"), bench.context) as served:

        def order(number: int) -> None:
            calls.append(number)
            get_order(served.port)

        served.loop(order, 300, concurrency=4)
        served.loop(["GET /orders/7"], 300, concurrency=4)
    assert sorted(calls) == list(range(len(calls)))
    assert len(bench.checks) == 2
    assert not any(check.problems for check in bench.checks), [
        check.problems for check in bench.checks
    ]


def test_a_load_command_runs_in_batches(bench: Any, make_stub: Make) -> None:
    load = (
        "import sys,urllib.request\n"
        "for _ in range(20): urllib.request.urlopen(sys.argv[1]).read()\n"
        "print('20 requests in 1s')"
    )
    judged = bench.run(
        make_stub("leak"), [sys.executable, "-c", load, "{url}/orders/7"], requests=400
    )
    assert judged.check.diagnosis.shape == "leak"
    assert judged.check.findings[0].rate.per_iteration == pytest.approx(20530, rel=0.1)


def test_a_failing_callable_is_named(bench: Any, make_stub: Make) -> None:
    def broken() -> None:
        raise ValueError("no such order")

    judged = bench.run(make_stub("clean"), broken)
    assert "request 0: broken raised ValueError('no such order')" in judged.reasons[0]


# Breaking


@pytest.mark.parametrize(
    ("mode", "ready", "says"),
    [
        ("broken", "http://127.0.0.1:{port}/", "answered 500"),
        ("refuses", None, "exit status 1, before it was ready"),
        ("forks", None, "went into the background"),
        ("clean", "log:no such line", "does not match"),
        ("clean", lambda: False, "says not yet"),
    ],
)
def test_what_does_not_come_up_says_why(
    bench: Any, make_stub: Make, mode: str, ready: Any, says: str
) -> None:
    patience_s = {"refuses": 60.0, "forks": 60.0, "broken": 4.0}.get(
        mode, 1.0
    )  # a loaded machine starts slowly
    with pytest.raises(ServiceNotReady):
        bench.run(make_stub(mode, ready=ready, start_timeout_s=patience_s))
    assert bench.judged.outcome is Outcome.INCONCLUSIVE
    assert says in bench.judged.reasons[0]
    if mode == "refuses":
        assert "no configuration found" in bench.judged.check.output


@pytest.mark.parametrize(
    "ready", ["log:listening", "tcp://127.0.0.1:{port}", "http://127.0.0.1:{port}/", lambda: True]
)
def test_every_kind_of_readiness(bench: Any, make_stub: Make, ready: Any) -> None:
    with session.serve(make_stub("clean", ready=ready), bench.context) as served:
        assert served.pid in tree.below(os.getpid())


def test_a_port_in_use_is_refused_before_anything_is_measured(bench: Any, make_stub: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LeakguardError):
            bench.run(make_stub("clean", port=taken.getsockname()[1]))
    assert "already in use" in bench.judged.reasons[0]


def test_a_service_that_is_killed_has_inconclusive(bench: Any, make_stub: Make) -> None:
    judged = bench.run(make_stub("suicide"))
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "killed by signal 9" in judged.reasons[0]


def test_a_closed_port_of_a_service_that_goes_on_growing_is_told(
    bench: Any, make_stub: Make
) -> None:
    judged = bench.run(make_stub("deaf"))
    assert "no longer listens" in judged.reasons[0]
    assert "goes on growing" in judged.reasons[0]


def test_recycled_workers_hide_leaks_and_are_no_pass(bench: Any, make_stub: Make) -> None:
    judged = bench.run(make_stub("workers"), requests=1000)
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "ended near request" in judged.reasons[0]
    assert judged.check.growth[0].iterations < 1000
    assert (
        judged.check.diagnosis is None
    )  # no word of how much would have shown: with each worker its leak goes


@pytest.mark.parametrize("may_make_groups", [True, False])
def test_the_memory_limit_is_enforced_and_said(
    bench: Any, make_stub: Make, monkeypatch: pytest.MonkeyPatch, may_make_groups: bool
) -> None:
    if not may_make_groups:
        monkeypatch.setattr(cgroup, "create", lambda limit_bytes: None)
    judged = bench.run(
        make_stub("leak", memory_limit_bytes=60 << 20), requests=5000, stops_early=False
    )
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "killed for memory" in judged.reasons[0]
    assert re.search(r"\(after [\d,]+ requests\)", judged.reasons[0])
    assert judged.check.findings  # what was seen until then is kept


def test_a_worker_killed_at_the_memory_limit_is_said_although_the_next_one_answers(
    bench: Any, make_stub: Make
) -> None:
    group = cgroup.create(45 << 20)
    if group is None:
        pytest.skip(
            "no control group may be made here; the supervisor then ends all processes at once"
        )
    group.close()
    assert not group.path.exists()
    judged = bench.run(
        make_stub("greedy_worker", memory_limit_bytes=90 << 20), requests=5000, stops_early=False
    )
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "killed for memory" in judged.reasons[0]
    assert judged.check.diagnosis is None or judged.check.diagnosis.iterations < 5000


def test_a_service_that_ignores_sigterm_is_gone_all_the_same(bench: Any, make_stub: Make) -> None:
    with session.serve(
        make_stub("stubborn", stop_signals=((signal.SIGTERM, 0.5),)), bench.context
    ) as served:
        pid = served.pid
    assert not tree.command(pid)


def test_an_exception_in_the_block_stops_the_service(bench: Any, make_stub: Make) -> None:
    with pytest.raises(RuntimeError), session.serve(make_stub("clean"), bench.context) as served:
        pid = served.pid
        raise RuntimeError
    assert not tree.command(pid)


def test_attach_measures_and_leaves_running(bench: Any) -> None:
    stub = Path(__file__).with_name("stub.py")
    port = free_port()
    with subprocess.Popen(
        [sys.executable, str(stub), str(port), "leak"], stdout=subprocess.PIPE
    ) as running:
        try:
            assert running.stdout is not None
            running.stdout.readline()
            with session.attach(running.pid, bench.context, port) as served:
                served.loop(["GET /orders/7"], 1000)
            assert running.poll() is None
        finally:
            running.terminate()
            running.wait()
    assert bench.judged.outcome is Outcome.LEAK
    assert any("no agent answered" in fact for fact in bench.judged.check.diagnosis.facts)
    with pytest.raises(UsageProblem), session.attach(2**22 + 1, bench.context):
        pass


# Live heap


def test_the_agent_hands_over_to_the_sitecustomize_it_hides(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.seen = 'seen'\n")
    program = "import sys,time; print(sys.seen, flush=True); time.sleep(60)"
    target = ServiceTarget(
        (sys.executable, "-c", program),
        "log:seen",
        env=(("PYTHONPATH", str(tmp_path)),),
        start_timeout_s=60.0,
    )
    with session.serve(target, bench.context) as served:
        assert "seen" in served.output


@pytest.mark.programs
def test_a_c_server_is_seen_to_the_byte(bench: Any, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    server = tmp_path / "server"
    subprocess.run(
        [compiler, "-O0", "-g", "-o", str(server), str(APPS / "server.c")], check=True, timeout=60
    )
    judged = bench.run(ServiceTarget((str(server), "{port}", "slow_leak")), requests=2500)
    assert judged.outcome is Outcome.LEAK
    assert judged.check.findings[0].rate.per_iteration == 48
    assert bench.run(ServiceTarget((str(server), "{port}", "fixed"))).outcome is Outcome.CLEAN


def test_a_worker_that_dies_is_seen(bench: Any, make_stub: Make) -> None:
    """The same through a signal from outside: the second process of a tree."""
    spawner = (
        "import subprocess,sys; child=subprocess.Popen([sys.executable,'-c','import time; time.sleep(60)']);"
        "sys.argv=sys.argv[1:]; exec(open(sys.argv[0]).read())"
    )
    stub = make_stub("clean").argv[1]
    target = ServiceTarget(
        (sys.executable, "-c", spawner, stub, "{port}", "clean"), start_timeout_s=60.0
    )
    with session.serve(target, bench.context) as served:
        worker = next(pid for pid in tree.below(served.pid))

        def order(number: int) -> None:
            if number == 500:
                os.kill(worker, signal.SIGKILL)
            get_order(served.port)

        served.loop(order, 1000, stops_early=False)
    assert bench.judged.outcome is Outcome.INCONCLUSIVE
    assert f"process {worker}" in bench.judged.reasons[0]


def test_with_unique_keys_no_leak_is_called_before_all_requests_are_sent(
    bench: Any, make_stub: Make
) -> None:
    judged = bench.run(make_stub("leak"), ["GET /orders/{n}"], requests=1200)
    assert judged.outcome is Outcome.LEAK
    assert judged.check.diagnosis.iterations == 1200
    assert any("distinct requests" in note for note in judged.check.notes)


# Reading request lines


@pytest.mark.parametrize("line", ["GET", "FETCH /x", "GET x", "/x"])
def test_what_is_no_request_line_is_refused(line: str) -> None:
    with pytest.raises(UsageProblem, match="no request line"):
        drive.parse_line(line)


def test_request_lines_hold_method_path_body_and_status() -> None:
    assert drive.parse_line('POST /cart {"id": 7} -> 201') == drive.RequestLine(
        "POST", "/cart", '{"id": 7}', 201
    )
    assert drive.parse_line("GET /a") == drive.RequestLine("GET", "/a")
    assert drive.parse_line("GET /orders/{n}").is_unique


def test_many_distinct_requests_are_no_fixed_set() -> None:
    assert drive.plan(["GET /a", "GET /b"], "http://127.0.0.1:1").is_fixed_set
    assert not drive.plan(["GET /orders/{n}"], "http://127.0.0.1:1").is_fixed_set
    assert not drive.plan([f"GET /{i}" for i in range(21)], "http://127.0.0.1:1").is_fixed_set
    with pytest.raises(UsageProblem):
        drive.plan([], "http://127.0.0.1:1")
