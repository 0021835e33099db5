"""Servers of other projects, each clean and with a planted leak of a kibibyte for each request.

    python benchmarks/more_servers.py [--runs N] [--only NAME ...] [--requests N] [--clean]

aiohttp, Bottle under waitress, celery with redis, Django under wsgiref and waitress, Falcon under
cheroot, Flask under gunicorn's threads, Hypercorn, MariaDB, puma, Starlette under uvicorn with two
workers, Tornado; and, clean only, Apache, HAProxy, lighttpd and memcached. MariaDB leaks statements
that a connection prepares and never gives back, of a size of its own. What is not installed is left
out and said. The exit status is 1 when an answer is wrong.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.services import launch, sampler, session
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.services.readiness import free_port
from pytest_leakguard.services.shared_files import SharedFiles
from pytest_leakguard.verdict import Judged, Policy, judge_check

LEAK_BYTES = 1024
KEEP = f"""
import os, sys
KEPT = []
def keep():
    if os.environ.get("PLANTED"):
        KEPT.append(bytes({LEAK_BYTES}))
"""
WSGI = """
def serve(app):
    import waitress
    waitress.serve(app, host="127.0.0.1", port=int(sys.argv[1]), threads=2)
"""
ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        keep()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
"""
DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
def order(request, number):
    keep()
    return JsonResponse({"order": number})
urlpatterns = [path("orders/<int:number>", order)]
settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], SECRET_KEY="x", DEBUG=False)
app = get_wsgi_application()
"""
WSGIREF = """
from wsgiref.simple_server import WSGIRequestHandler, make_server
class Silent(WSGIRequestHandler):
    def log_message(self, *args): pass
make_server("127.0.0.1", int(sys.argv[1]), app, handler_class=Silent).serve_forever()
"""
SCRIPTS = {
    "aiohttp": """
from aiohttp import web
async def order(request):
    keep()
    return web.json_response({"order": request.match_info["number"]})
app = web.Application()
app.router.add_get("/orders/{number}", order)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
""",
    "bottle": WSGI
    + """
import bottle
@bottle.get("/orders/<number:int>")
def order(number):
    keep()
    return {"order": number}
serve(bottle.default_app())
""",
    "django": WSGI + DJANGO + "serve(app)\n",
    "django + wsgiref": DJANGO + WSGIREF,
    "falcon": """
import falcon
from cheroot import wsgi
class Order:
    def on_get(self, request, response, number):
        keep()
        response.media = {"order": number}
app = falcon.App()
app.add_route("/orders/{number}", Order())
wsgi.Server(("127.0.0.1", int(sys.argv[1])), app, numthreads=2).start()
""",
    "tornado": """
import asyncio, logging
from tornado import web
logging.disable(logging.CRITICAL)
class Order(web.RequestHandler):
    def get(self, number):
        keep()
        self.write({"order": number})
async def main():
    web.Application([(r"/orders/(\\d+)", Order)]).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()
asyncio.run(main())
""",
}
FLASK = """
from flask import Flask
app = Flask(__name__)
@app.get("/orders/<int:number>")
def order(number):
    keep()
    return {"order": number}
"""
NEEDS = {"bottle": "waitress", "django + wsgiref": "django", "falcon": "cheroot"}
HAPROXY = """defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend orders
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string ok
"""
LIGHTTPD = """server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {port}
"""
APACHE = """ServerName localhost
ServerRoot {folder}
PidFile {folder}/apache.pid
Listen 127.0.0.1:{port}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
DocumentRoot {folder}
ErrorLog {folder}/apache.log
"""


@dataclass(frozen=True, slots=True)
class Server:
    """One server; ``leaks`` says whether a leak was planted."""

    name: str
    target: ServiceTarget
    leaks: bool = False
    leak_bytes: int = LEAK_BYTES
    """0 where its size is not known."""
    work: tuple[str, ...] | Callable[[], None] = ("GET /orders/7",)


def python_servers(folder: Path) -> Iterator[Server]:
    """Those whose framework is here; says which are not."""
    commands: dict[str, tuple[str, ...]] = {}
    for name, code in SCRIPTS.items():
        script = folder / f"app_{name.replace(' ', '').replace('+', '_')}.py"
        script.write_text(KEEP + code)
        if _has(name, name.partition(" ")[0], NEEDS.get(name, "")):
            commands[name] = (sys.executable, str(script), "{port}")
    (folder / "asgi_app.py").write_text(KEEP + ASGI)
    (folder / "flask_app.py").write_text(KEEP + FLASK)
    run = (sys.executable, "-m")
    if _has("uvicorn x 2", "uvicorn"):
        quiet = ("--log-level", "warning")
        two = ("--port", "{port}", "--workers", "2")
        commands["uvicorn x 2"] = (*run, "uvicorn", "asgi_app:app", *two, *quiet)
    if _has("hypercorn", "hypercorn"):
        commands["hypercorn"] = (*run, "hypercorn", "-b", "127.0.0.1:{port}", "asgi_app:app")
    if _has("gunicorn, threads", "gunicorn", "flask"):
        threads = ("-w", "1", "--threads", "4", "-b", "127.0.0.1:{port}")
        commands["gunicorn, threads"] = (*run, "gunicorn", *threads, "flask_app:app")
    ready = "http://127.0.0.1:{port}/orders/7"
    for name, command in commands.items():
        for planted in ("", "1"):
            env = (("PLANTED", planted),) if planted else ()
            target = ServiceTarget(command, ready, cwd=folder, env=env, start_timeout_s=60.0)
            yield Server(name, target, bool(planted))


def _has(name: str, *modules: str) -> bool:
    """Whether all that it needs is installed; says it where it is not."""
    for module in modules:
        if module and importlib.util.find_spec(module) is None:
            print(f"left out: {name} ({module} is not here)")
            return False
    return True


def native_servers(folder: Path) -> Iterator[Server]:
    """Written in C: nothing can be planted there."""
    ready = "tcp://127.0.0.1:{port}"
    (folder / "orders").mkdir(exist_ok=True)
    (folder / "orders" / "7").write_text("ok\n")
    for name, program, conf, words in (
        ("haproxy", "haproxy", HAPROXY, ("-db", "-f")),
        ("lighttpd", "lighttpd", LIGHTTPD, ("-D", "-f")),
        ("apache", "apache2", APACHE, ("-DFOREGROUND", "-f")),
    ):
        found = shutil.which(program)
        if found is None:
            print(f"left out: {name} ({program} is not here)")
            continue
        modules = Path(found).resolve().parents[1] / "lib" / "apache2" / "modules"
        path, port = folder / f"{name}.conf", free_port()
        path.write_text(conf.format(port=port, folder=folder, modules=modules))
        target = ServiceTarget((found, *words, str(path)), ready.format(port=port))
        yield Server(name, target, work=_get(port))
    if shutil.which("memcached") is None:
        print("left out: memcached (memcached is not here)")
        return
    port = free_port()
    user = ("-u", "root")
    command = ("memcached", "-l", "127.0.0.1", "-p", str(port), *user)
    yield Server("memcached", ServiceTarget(command, ready.format(port=port)), work=_set(port))


CELERY = """
from celery import Celery
url = "redis://127.0.0.1:" + os.environ["REDIS_PORT"]
app = Celery("jobs", broker=url, backend=url)
app.conf.result_expires = 1
@app.task(name="order")
def order(number):
    keep()
    return number
"""


def celery_workers(folder: Path) -> Iterator[Server]:
    """A worker with one process for tasks; redis beside it is not measured."""
    if not _has("celery", "celery", "redis") or shutil.which("redis-server") is None:
        return
    (folder / "jobs.py").write_text(KEEP + CELERY)
    sys.path.insert(0, str(folder))
    for planted in ("", "1"):
        port = free_port()
        redis = ("redis-server", "--port", str(port), "--save", "", "--appendonly", "no")
        broker = launch.start(ServiceTarget(redis, f"tcp://127.0.0.1:{port}"))
        env = (("REDIS_PORT", str(port)), *((("PLANTED", planted),) if planted else ()))
        worker = (sys.executable, "-m", "celery", "-A", "jobs", "worker", "-c", "1", "-l", "INFO")
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        target = ServiceTarget(
            (*worker, *quiet), "log:ready.", cwd=folder, env=env, start_timeout_s=60.0
        )
        try:
            yield Server("celery", target, bool(planted), work=_task(port))
        finally:
            broker.stop()


def _task(port: int) -> Callable[[], None]:
    os.environ["REDIS_PORT"] = str(port)
    sys.modules.pop("jobs", None)
    jobs = importlib.import_module("jobs")

    def send() -> None:
        result = jobs.order.delay(7)
        assert result.get(timeout=30) == 7
        result.forget()

    return send


PUMA = """KEPT = []
run lambda { |env|
  KEPT << ("x" * 1024) if ENV["PLANTED"] && env["PATH_INFO"].start_with?("/orders")
  [200, {"content-type" => "text/plain"}, ["ok\\n"]]
}
"""


def puma(folder: Path) -> Iterator[Server]:
    found, ruby = shutil.which("puma"), shutil.which("ruby") or shutil.which("ruby3.1")
    if found is None or ruby is None:
        print("left out: puma (puma is not here)")
        return
    (folder / "config.ru").write_text(PUMA)
    command = (ruby, found, "-b", "tcp://127.0.0.1:{port}", "-t", "2:2", "config.ru")
    for planted in ("", "1"):
        env = (("PLANTED", planted),) if planted else ()
        target = ServiceTarget(command, cwd=folder, env=env, start_timeout_s=60.0)
        yield Server("puma", target, bool(planted))


def mariadb(folder: Path) -> Iterator[Server]:
    """One that begins with an empty folder, without a table of users."""
    found = shutil.which("mariadbd")
    if found is None or not _has("mariadb", "pymysql"):
        print("left out: mariadb (mariadbd is not here)")
        return
    share = Path(found).resolve().parents[1] / "share" / "mysql"
    for planted in (False, True):
        port, data = free_port(), folder / f"mariadb{planted}"
        data.mkdir(exist_ok=True)
        command = (
            found,
            "--no-defaults",
            "--user=root",
            f"--datadir={data}",
            "--skip-grant-tables",
            f"--lc-messages-dir={share}",
            "--bind-address=127.0.0.1",
            f"--port={port}",
            f"--socket={data}/socket",
            f"--pid-file={data}/pid",
        )
        target = ServiceTarget(command, f"tcp://127.0.0.1:{port}", start_timeout_s=60.0)
        work = _prepare(port) if planted else _query(port)
        yield Server("mariadb", target, planted, leak_bytes=0, work=work)


def _connection(port: int) -> Any:
    pymysql: Any = importlib.import_module("pymysql")
    cursor = pymysql.connect(host="127.0.0.1", port=port, user="root", autocommit=True).cursor()
    cursor.execute("create database if not exists shop")
    cursor.execute("use shop")
    cursor.execute("create table if not exists orders (id int primary key, n int)")
    return cursor


def _query(port: int) -> Callable[[], None]:
    cursors: list[Any] = []

    def query() -> None:
        if not cursors:
            cursors.append(_connection(port))
        cursors[0].execute("replace into orders values (7, 1)")
        cursors[0].execute("select n from orders where id = 7")
        assert cursors[0].fetchall() == ((1,),)

    return query


def _prepare(port: int) -> Callable[[], None]:
    cursors: list[Any] = []
    numbers = itertools.count()

    def prepare() -> None:
        if not cursors:
            cursors.append(_connection(port))
        number = next(numbers)
        cursors[0].execute(f"prepare s{number} from 'select n from orders where id = 7'")

    return prepare


def _get(port: int) -> Callable[[], None]:
    def get() -> None:
        with socket.create_connection(("127.0.0.1", port), 30) as caller:
            caller.sendall(b"GET /orders/7 HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = b""
            while part := caller.recv(4096):
                answer += part
        assert b" 200 " in answer.partition(b"\r\n")[0] + b" ", answer[:200]

    return get


def _set(port: int) -> Callable[[], None]:
    def set_one() -> None:
        with socket.create_connection(("127.0.0.1", port), 30) as caller:
            caller.sendall(b"set order 0 0 100\r\n" + b"x" * 100 + b"\r\n")
            assert caller.recv(100) == b"STORED\r\n"

    return set_one


def check(server: Server, requests: int) -> Check:
    """One server, driven until its verdict."""
    checks: list[Check] = []

    def keep(one: Check) -> Judged:
        checks.append(one)
        return judge_check(one, Policy())

    context = session.Context(Settings(), lambda: server.name, keep)
    with session.serve(server.target, context) as served:
        work = list(server.work) if isinstance(server.work, tuple) else server.work
        served.loop(work, requests)
    return checks[-1]


def is_right(server: Server, done: Check) -> bool:
    """Whether a leak was found where one was planted, and of that size."""
    if done.diagnosis is None or done.problems:
        return False
    if not server.leaks:
        return done.diagnosis.shape != "leak"
    found = next(one for one in done.growth if one.metric == done.diagnosis.metric)
    is_size_right = abs(found.per_iteration / (server.leak_bytes or LEAK_BYTES) - 1) <= 0.15
    return found.shape == "leak" and (is_size_right or not server.leak_bytes)


def servers(folder: Path, runs: int) -> Iterator[Server]:
    """All of them, so many times; what one needs beside it is started when its turn comes."""
    for _ in range(runs):
        for find in (python_servers, native_servers, puma, mariadb, celery_workers):
            yield from find(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--clean", action="store_true", help="without those that leak")
    options = parser.parse_args()
    wrong = total = 0
    counts: dict[bool, list[int]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="leakguard-servers-") as name:
        Path(name).chmod(0o755)
        # What others make in shared memory meanwhile is not these servers'.
        vars(sampler)["SharedFiles"] = lambda: SharedFiles(Path(name) / "shared")
        for server in servers(Path(name), options.runs):
            if options.clean and server.leaks:
                continue
            if options.only and not any(word in server.name for word in options.only):
                continue
            started = time.monotonic()
            done = check(server, options.requests)
            right = is_right(server, done)
            wrong, total = wrong + (not right), total + 1
            if done.diagnosis is not None:
                counts[server.leaks].append(done.diagnosis.iterations)
            _print(server, done, right, time.monotonic() - started)
    for leaks, found in counts.items():
        if found:
            print(
                f"{'leaking' if leaks else 'clean'}: median {statistics.median(found):.0f} requests"
            )
    print(f"{total - wrong} of {total} answers right")
    return int(wrong > 0)


def _print(server: Server, done: Check, right: bool, seconds: float) -> None:
    shape = done.diagnosis.shape if done.diagnosis else "none"
    requests = done.diagnosis.iterations if done.diagnosis else 0
    metric = done.diagnosis.metric if done.diagnosis else ""
    rate = next((one.per_iteration for one in done.growth if one.metric == metric), 0.0)
    planted = "planted" if server.leaks else "clean"
    print(
        f"{'ok   ' if right else 'WRONG'} {server.name:<18} {planted:<8} {shape:<14} "
        f"{requests:>5} requests {seconds:5.1f} s {rate:9.1f} {metric} "
        f"{'; '.join(done.problems)[:200]}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
