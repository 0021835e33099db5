"""The leaking shop fails with rate and forecast, then with the line; the fixed one passes.

pytest --leakguard sample_apps/services/test_shop.py
"""

import sys
from pathlib import Path

import pytest

pytest.importorskip("flask", reason="pip install flask gunicorn")
pytest.importorskip("gunicorn", reason="pip install flask gunicorn")
HERE = Path(__file__).parent


def check(leakguard, mode, requests=None, workers=2, **options):
    gunicorn = [
        sys.executable,
        "-m",
        "gunicorn",
        "-w",
        str(workers),
        "-b",
        "127.0.0.1:{port}",
        "shop:app",
    ]
    with leakguard.serve(
        gunicorn, ready="http://127.0.0.1:{port}/healthz", cwd=HERE, env={"SHOP": mode}, **options
    ) as service:
        service.loop(["GET /orders/7"], requests, rate=40, memory_limit="512 MiB")


def test_orders_does_not_grow(leakguard):
    check(leakguard, "leak")


def test_orders_leaves_nothing_allocated(leakguard):
    check(leakguard, "leak", 200, workers=1, tool="memray")


def test_fixed_orders_does_not_grow(leakguard):
    check(leakguard, "fixed")


def test_fixed_orders_leaves_nothing_allocated(leakguard):
    check(leakguard, "fixed", 200, workers=1, tool="memray")
