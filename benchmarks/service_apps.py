"""The sample services and real clean servers, again and again in random order, with the second core
loaded.

    python benchmarks/service_apps.py [--runs N] [--seed N] [--only NAME ...] [--servers] [--idle]
        [--requests N]

Without ``--servers`` the services of ``sample_apps/services`` are run, whose answers are in
``expected.json``; with it nginx, redis, PostgreSQL, gunicorn with Flask, uvicorn with Starlette and
Node's http, all clean: none may be called a leak. What is not installed is left out and said. The
exit status is 1 when an answer is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.services import session
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.verdict import Judged, Policy, judge_check

ROOT = Path(__file__).parents[1]
APPS = ROOT / "sample_apps" / "services"
QUIET = ("stable", "cache", "burst")
WITHIN = 0.15
"""Of the true growth per request."""


@dataclass(frozen=True, slots=True)
class App:
    """One service with its known answer."""

    name: str
    target: ServiceTarget
    work: tuple[str, ...]
    shapes: tuple[str, ...]
    bytes_per_request: float = 0.0
    metric: str = ""

    def is_right(self, check: Check) -> bool:
        """Whether the answer is the known one."""
        if check.diagnosis is None or (check.problems and "undecided" not in self.shapes):
            return False
        if check.diagnosis.shape not in self.shapes or self.metric not in (
            "",
            check.diagnosis.metric,
        ):
            return False
        found = next(one for one in check.growth if one.metric == check.diagnosis.metric)
        if not self.bytes_per_request:
            return True
        return abs(found.per_iteration / self.bytes_per_request - 1) <= WITHIN


def sample_apps(folder: Path) -> Iterator[App]:
    """Those whose interpreter or compiler is here; says which are not."""
    build = folder / "build"
    build.mkdir(exist_ok=True)
    for name, one in json.loads((APPS / "expected.json").read_text()).items():
        command = (
            [sys.executable, "-m", "gunicorn", *one["command"][1:]]
            if name == "shop"
            else one["command"]
        )
        if name == "c":
            compiler = shutil.which("gcc") or shutil.which("cc") or "gcc"
            if shutil.which(compiler):
                source = str(APPS / "server.c")
                subprocess.run(
                    [compiler, "-O0", "-g", "-pthread", "-o", str(build / "server"), source],
                    check=True,
                )
        command = [word.replace("{build}", str(build)) for word in command]
        if not shutil.which(command[0]):
            print(f"left out: {name} ({command[0]} is not here)")
            continue
        for mode, answer in one["answers"].items():
            target = ServiceTarget(
                tuple(word.replace("{mode}", mode) for word in command),
                ready=one["ready"],
                cwd=APPS,
                env=((one["variable"], mode),) if "variable" in one else (),
                start_timeout_s=60.0,
            )
            yield App(
                f"{name}:{mode}",
                target,
                tuple(one["requests"]),
                tuple(answer["shape"]),
                answer.get("bytes_per_request", 0.0),
                answer.get("metric", ""),
            )


ASGI = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def order(request):
    return JSONResponse({"order": int(request.path_params["number"])})
app = Starlette(routes=[Route("/orders/{number}", order)])
"""
NGINX = """daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }} }}
"""


def real_servers(folder: Path) -> Iterator[App]:
    """Clean servers as their projects ship them."""
    (folder / "asgi_app.py").write_text(ASGI)
    gunicorn = next(app for app in sample_apps(folder) if app.name == "shop:fixed")
    yield replace(gunicorn, name="gunicorn + Flask")
    get = ("GET /orders/7",)
    uvicorn = (
        sys.executable,
        "-m",
        "uvicorn",
        "asgi_app:app",
        "--port",
        "{port}",
        "--log-level",
        "warning",
    )
    yield App("uvicorn + Starlette", ServiceTarget(uvicorn, cwd=folder), get, QUIET)
    node = ("node", str(APPS / "server.js"), "{port}", "fixed")
    yield App("Node http", ServiceTarget(node), get, QUIET)
    nginx = (
        "sh",
        "-c",
        'printf "%s" "$CONF" > "$0.conf" && exec nginx -c "$0.conf"',
        str(folder / "nginx"),
    )
    conf = NGINX.format(folder=folder, port="{port}")
    env = (("CONF", conf.replace("daemon", "user root; daemon") if os.getuid() == 0 else conf),)
    ready = "tcp://127.0.0.1:{port}"
    yield App("nginx", ServiceTarget(nginx, ready, env=env), get, QUIET)
    redis = (
        "redis-server",
        "--port",
        "{port}",
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(folder),
    )
    load = (
        "redis-benchmark",
        "-p",
        "{port}",
        "-n",
        "400",
        "-c",
        "10",
        "-r",
        "100",
        "-t",
        "set,get",
    )
    yield App("redis", ServiceTarget(redis, ready), load, QUIET)
    yield from _postgresql(folder, ready)


def _postgresql(folder: Path, ready: str) -> Iterator[App]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        print("left out: PostgreSQL (not here)")
        return
    binaries, data = found[-1].parent, folder / "pg"
    prefix = (
        ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
        if os.getuid() == 0
        else ()
    )
    folder.chmod(0o755)
    data.mkdir(mode=0o700)
    if prefix:
        os.chown(data, 65534, 65534)
    create = [
        *prefix,
        str(binaries / "initdb"),
        "-D",
        str(data),
        "-U",
        "leakguard",
        "--auth=trust",
        "--no-sync",
    ]
    subprocess.run(
        create, check=True, capture_output=True, env={**os.environ, "LC_ALL": "C"}, cwd="/"
    )
    server = (
        *prefix,
        str(binaries / "postgres"),
        "-D",
        str(data),
        "-p",
        "{port}",
        "-k",
        "",
        "-h",
        "127.0.0.1",
    )
    script = folder / "order.sql"
    script.write_text("SELECT count(*) FROM generate_series(1, 50);\n")
    script.chmod(0o644)
    url = "host=127.0.0.1 port={port} user=leakguard dbname=postgres"
    told = 'psql -q "$0" -c "SELECT 1" >/dev/null && pgbench -n -c 2 -t 100 -f "$1" "$0"'
    yield App(
        "PostgreSQL",
        ServiceTarget(server, ready, cwd=Path("/")),
        ("sh", "-c", told, url, str(script)),
        QUIET,
    )


def check(app: App, requests: int) -> Check:
    """One service, driven until its verdict."""
    checks: list[Check] = []

    def keep(one: Check) -> Judged:
        checks.append(one)
        return judge_check(one, Policy())

    context = session.Context(Settings(), lambda: app.name, keep)
    with contextlib.suppress(LeakguardError), session.serve(app.target, context) as served:
        served.loop(list(app.work), requests)
    return checks[-1]


@contextlib.contextmanager
def loaded(is_loaded: bool) -> Iterator[None]:
    """Somebody else on the second core."""
    if not is_loaded:
        yield
        return
    # The busy process ends when we do, even when we are killed.
    work = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**6))"
    with subprocess.Popen([sys.executable, "-c", work]) as busy:
        try:
            yield
        finally:
            busy.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument(
        "--servers", action="store_true", help="real clean servers instead of the sample services"
    )
    parser.add_argument("--idle", action="store_true", help="leave the second core alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leakguard-apps-") as name, loaded(not options.idle):
        folder = Path(name)
        apps = list(real_servers(folder) if options.servers else sample_apps(folder))
        apps = [
            app
            for app in apps
            if not options.only or any(word in app.name for word in options.only)
        ]
        order = apps * options.runs
        random.Random(options.seed).shuffle(order)
        answers: dict[str, Counter[str]] = {app.name: Counter() for app in apps}
        wrong = 0
        for app in order:
            started = time.monotonic()
            done = check(app, options.requests)
            is_right = app.is_right(done)
            wrong += not is_right
            answers[app.name][_told(done)] += 1
            print(_line(app, done, is_right, time.monotonic() - started), flush=True)
    print()
    for app in apps:
        counts = [f"{number}x {told}" for told, number in answers[app.name].most_common()]
        print(f"{app.name:<24} {', '.join(counts)}")
    print(f"\n{len(order) - wrong} of {len(order)} answers right")
    return int(wrong > 0)


def _told(done: Check) -> str:
    return done.diagnosis.shape if done.diagnosis and not done.problems else "inconclusive"


def _line(app: App, done: Check, is_right: bool, seconds: float) -> str:
    start = f"{'ok   ' if is_right else 'WRONG'} {app.name:<24} {_told(done):<14}"
    if done.diagnosis is None or done.problems:
        return f"{start} {'; '.join(done.problems)[:300]}"
    found = next(one for one in done.growth if one.metric == done.diagnosis.metric)
    rate = (
        f"{found.per_iteration:9.1f} per request"
        if found.shape == "leak"
        else f"kept {found.rise:+,.0f}"
    )
    return (
        f"{start} {done.diagnosis.metric:<14} {done.diagnosis.iterations:>5} requests "
        f"{seconds:5.1f} s  {rate}"
    )


if __name__ == "__main__":
    sys.exit(main())
