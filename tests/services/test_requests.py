"""Requests as people write them, against real servers on loopback."""

from __future__ import annotations

import asyncio
import http.server
import json
import shutil
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.services import load, request_lines
from pytest_leakguard.services.load import RequestFailed, Sending


class Echo(http.server.BaseHTTPRequestHandler):
    """Writes head and body apart, as it comes: what made clients wait 40 ms for each answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        self.send_response(401 if self.path == "/secret" else 200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


class UnixEcho(Echo):
    def address_string(self) -> str:
        return "unix"


def serving(server: Any) -> Iterator[Any]:
    server.seen, server.daemon_threads = [], True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def server() -> Iterator[Any]:
    yield from serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo))


def url_of(server: Any, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.server_address[1]}"


def send(server: Any, work: Any, count: int = 1, **more: Any) -> list[Any]:
    planned = load.plan(work, url_of(server), sending=Sending(**more))
    try:
        assert planned.run(0, count) == count
    finally:
        planned.close()
    seen: list[Any] = server.seen
    return seen


def test_a_kept_alive_request_does_not_wait_for_a_delayed_acknowledgement(server: Any) -> None:
    started = time.monotonic()
    send(server, ["GET /orders/7"], 100)
    assert time.monotonic() - started < 2.0  # 4.4 s with 44 ms each


@pytest.mark.parametrize(
    ("line", "header", "value", "body"),
    [
        ("GET / Authorization: Bearer x", "Authorization", "Bearer x", b""),
        ("POST /a X-Trace: 1 2", "X-Trace", "1 2", b""),
        ('POST /a {"id": 7}', "Content-Type", "application/json", b'{"id": 7}'),
        (
            "POST /a name=me&x=1",
            "Content-Type",
            "application/x-www-form-urlencoded",
            b"name=me&x=1",
        ),
        ("POST /a\nContent-Type: text/csv\n\na,b\nc,d", "Content-Type", "text/csv", b"a,b\nc,d"),
        ("POST /a note: hello", "Content-Length", "11", b"note: hello"),
        ("get /a HTTP/1.1 -> 200", "Host", "", b""),
    ],
)
def test_a_line_sends_its_header_and_body(
    server: Any, line: str, header: str, value: str, body: bytes
) -> None:
    ((_, _, headers, sent),) = send(server, [line])
    assert sent == body
    assert headers[header].endswith(value)


def test_a_table_sends_everything_it_names(server: Any, tmp_path: Path) -> None:
    picture = tmp_path / "cat.jpg"
    picture.write_bytes(b"\xff\xd8cat")
    requests = [
        {"path": "/a", "params": {"q": "x y"}, "headers": {"X-A": "1"}, "cookies": {"id": "7"}},
        {"method": "PUT", "path": "/b", "json": {"n": "{n}"}},
        {"path": "/c", "form": {"name": "me"}},
        {"path": "/d", "form": {"name": "me"}, "files": {"photo": picture}, "status": 200},
        f"POST /e photo=@{picture}",
        f"POST /f @{picture}",
    ]
    seen = send(server, requests, 6)
    assert (seen[0][0], seen[0][1]) == ("GET", "/a?q=x+y")
    assert (seen[0][2]["X-A"], seen[0][2]["Cookie"]) == ("1", "id=7")
    assert seen[1][0] == "PUT" and json.loads(seen[1][3]) == {"n": "1"}
    assert seen[2][:2] == ("POST", "/c") and seen[2][3] == b"name=me"
    for _, _, headers, body in seen[3:5]:
        assert headers["Content-Type"].startswith("multipart/form-data")
        assert b'filename="cat.jpg"' in body and b"\xff\xd8cat" in body
    assert seen[5][2]["Content-Type"] == "image/jpeg" and seen[5][3] == b"\xff\xd8cat"


def test_what_applies_to_all_lines_is_sent_with_each_and_gives_way_to_its_own(server: Any) -> None:
    every = request_lines.authorization(("me", "secret"))
    seen = send(server, ["GET /a", "GET /b Authorization: Bearer y"], 2, headers=every)
    assert [one[2]["Authorization"] for one in seen] == ["Basic bWU6c2VjcmV0", "Bearer y"]


def test_random_numbers_follow_from_the_seed_and_the_number(server: Any) -> None:
    first = [one[1] for one in send(server, ["GET /{n}/{random}/{random}"], 3, seed=4)]
    server.seen.clear()
    assert [one[1] for one in send(server, ["GET /{n}/{random}/{random}"], 3, seed=4)] == first
    server.seen.clear()
    assert [one[1] for one in send(server, ["GET /{n}/{random}/{random}"], 3, seed=5)] != first
    number, one, other = first[2].strip("/").split("/")
    assert number == "2" and one != other and one.isdigit()
    assert not load.plan(["GET /{random}"], "http://127.0.0.1:1").is_fixed_set


def test_a_refused_request_says_how_to_send_an_authorization(server: Any) -> None:
    with pytest.raises(RequestFailed, match=r"answered 401 .*headers="):
        send(server, ["GET /secret"])


def test_a_unix_socket_is_asked_by_its_address(tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"

    class UnixServer(socketserver.ThreadingUnixStreamServer):
        pass

    for server in serving(UnixServer(str(path), UnixEcho)):
        planned = load.plan(["GET /orders/7"], f"http+unix://{quote(str(path), safe='')}")
        planned.run(0, 25)
        planned.close()
        assert len(server.seen) == 25 and server.seen[0][1] == "/orders/7"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "ca.pem")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()
    name = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [openssl, *words, *name, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return key, certificate


def test_https_is_spoken_with_an_own_authority_or_unverified(
    certificate: tuple[str, str],
) -> None:
    key, authority = certificate
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    for running in serving(server):
        url = url_of(running, "https")
        for verify in (authority, False):
            planned = load.plan([f"GET {url}/a"], "", sending=Sending(verify=verify))
            planned.run(0, 12)
            planned.close()
        assert len(running.seen) == 24
        with pytest.raises(RequestFailed, match=r"certificate of https.* is not trusted; verify="):
            load.plan(["GET /a"], url).run(0, 1)
        with pytest.raises(RequestFailed, match="speaks TLS; say so with ready="):
            load.plan(["GET /a"], url_of(running)).run(0, 1)
    with pytest.raises(UsageProblem, match="no such file; verify="):
        load.plan(["GET /a"], "https://127.0.0.1:1", sending=Sending(verify="/nowhere.pem"))


# Callables


@pytest.mark.parametrize("concurrency", [1, 3])
def test_an_async_callable_is_awaited_on_one_loop(concurrency: int) -> None:
    loops, numbers, together, most = set(), [], 0, 0

    async def order(number: int) -> None:
        nonlocal together, most
        loops.add(asyncio.get_running_loop())
        numbers.append(number)
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.001)
        together -= 1

    planned = load.plan(order, "", concurrency)
    assert planned.run(0, 10) == 10
    assert planned.run(10, 5) == 5
    planned.close()
    assert (sorted(numbers), len(loops), most) == (list(range(15)), 1, concurrency)
    assert planned.run(15, 1) == 1  # it may be asked again
    planned.close()


def test_an_async_callable_may_be_driven_from_a_running_loop_and_its_failure_is_said() -> None:
    async def broken() -> None:
        raise ValueError("no such order")

    async def test() -> None:
        planned = load.plan(broken, "")
        try:
            planned.run(0, 1)
        finally:
            planned.close()

    with pytest.raises(RequestFailed, match=r"request 0: broken raised .*no such order"):
        asyncio.run(test())
    with pytest.raises(RequestFailed, match="nobody awaits; give an async def"):
        load.plan(lambda: broken(), "").run(0, 1)


# What is refused


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (
            ["/items/7"],
            "'/items/7' is no request line: it has no method: write GET",
        ),
        (["GET /a", "GTE /b"], "request 2 of 2: .*begins with 'GTE'; GET?"),
        (["GET"], "a path is missing after GET"),
        (["GET items"], "the path must begin with /"),
        (["GET /a b"], "written %20"),
        (["GET /items/{id}"], "fill in for {id}: {n} is the number"),
        (["POST /a @nowhere.png"], "nowhere.png that is to be sent cannot be read"),
        ([{"path": "/a", "jsn": 1}], "unknown key 'jsn' of a request; expected: method, path"),
        ([{"path": "/a", "json": 1, "form": {}}], "one of body, json, form"),
        ([{"path": "/a", "status": 7}], "status of a request is 7; expected a number from 100"),
        ([{"path": "/a", "headers": ["x"]}], "expected a table of strings"),
        (["no-such-load-tool"], "neither a request line .* nor the name of a program"),
        (7, "work must be a callable, request lines"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_what_was_expected(
    work: Any, told: str
) -> None:
    with pytest.raises(UsageProblem, match=told.replace("{", r"\{").replace("?", r"\?")):
        load.plan(work, "http://127.0.0.1:1")


def test_a_file_of_lines_is_read_and_its_errors_name_file_and_line(
    server: Any, tmp_path: Path
) -> None:
    lines = tmp_path / "orders.txt"
    lines.write_text("# all\nGET /a\n\nPOST /b {}\n")
    assert [one[1] for one in send(server, lines, 2)] == ["/a", "/b"]
    server.seen.clear()
    blocks = tmp_path / "orders.http"
    blocks.write_text("### one\nPOST /a\nX-A: 1\n\n{}\n\n### two\nGET /b\n")
    assert [(one[1], one[3]) for one in send(server, blocks, 2)] == [("/a", b"{}"), ("/b", b"")]
    lines.write_text("GET /a\n/b\n")
    with pytest.raises(UsageProblem, match=r"orders\.txt:2: '/b' is no request line"):
        send(server, lines)
    with pytest.raises(UsageProblem, match="cannot be read as a file of request lines"):
        send(server, tmp_path / "nowhere")


# Load commands


@pytest.mark.slow  # forty runs of a command are too few where the machine is busy
def test_a_load_command_without_a_number_is_counted_by_its_runs(bench: Any, make_stub: Any) -> None:
    script = (
        "import sys, urllib.request as r\n"
        "for _ in range(5): r.urlopen(sys.argv[1] + '/orders/7').read()"
    )
    judged = bench.run(
        make_stub("leak"), [sys.executable, "-c", script, "{url}"], 40, memory_limit_bytes=1 << 30
    )
    (finding,) = judged.check.findings
    assert finding.rate.per == "run of the command"
    assert judged.check.diagnosis.per == "run of the command"
    assert finding.rate.per_iteration == pytest.approx(5 * 20 * 1024, rel=0.05)
    assert any("does not say how many requests" in note for note in judged.check.notes)
