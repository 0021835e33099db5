"""Requests and seconds until the verdict on live services, beside what simple methods say of the same series.

    python benchmarks/service_verdict.py [RUNS]

Drives ``sample_apps/services/server.c`` and the test stub on loopback; needs a C compiler and Linux.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.growth_matrix import SIMPLE
from pytest_leakguard import serving
from pytest_leakguard.model import Check
from pytest_leakguard.options import Settings
from pytest_leakguard.service import ServiceTarget
from pytest_leakguard.verdict import Judged, Policy, judge_check

ROOT = Path(__file__).parents[1]
STUB = ROOT / "tests" / "service" / "stub.py"


def measure(target: ServiceTarget, live_heap: bool) -> Check:
    """One service, driven until its verdict."""
    checks: list[Check] = []

    def keep(check: Check) -> Judged:
        checks.append(check)
        return judge_check(check, Policy())

    context = serving.Context(Settings(), lambda: "benchmark", keep)
    with serving.serve(target, context, live_heap=live_heap) as served:
        served.loop(["GET /orders/7"], 5000)
    return checks[0]


def targets(server: Path) -> Iterator[tuple[str, ServiceTarget]]:
    """Services with a known answer."""
    for mode, told in (("slow_leak", "C, 64 B"), ("leak", "C, 1 KiB"), ("fixed", "C, clean"), ("cache", "C, cache")):
        yield told, ServiceTarget((str(server), "{port}", mode))
    for mode, told in (("leak", "Python, 20 KiB"), ("clean", "Python, clean"), ("cache", "Python, cache")):
        yield told, ServiceTarget((sys.executable, str(STUB), "{port}", mode))


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    compiler = shutil.which("cc") or sys.exit("needs a C compiler")
    with tempfile.TemporaryDirectory() as folder:
        server = Path(folder) / "server"
        source = ROOT / "sample_apps" / "services" / "server.c"
        subprocess.run([compiler, "-O0", "-g", "-o", str(server), str(source)], check=True)
        print(f"{'service':<16}{'heap':>6}{'requests':>10}{'seconds':>9}  verdict   simple methods that call it a leak")
        for _ in range(runs):
            for told, target in targets(server):
                for live_heap in (True, False):
                    _print(told, live_heap, measure(target, live_heap))


def _print(told: str, live_heap: bool, check: Check) -> None:
    assert check.diagnosis is not None, check.problems
    pages = next(one for one in check.growth if one.metric == "private_bytes")
    fooled = [name for name, ask in SIMPLE.items() if ask(list(pages.samples)[1:])]
    print(
        f"{told:<16}{'yes' if live_heap else 'no':>6}{check.diagnosis.iterations:>10}{check.duration_s:>9.1f}"
        f"  {check.diagnosis.shape:<9} {', '.join(fooled) or 'none'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
