"""Every sample service and every real server that is here, in random order with the second core loaded.

``LEAKGUARD_REPEATS`` says how often (1), ``LEAKGUARD_SEED`` in which order.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import service_apps
from benchmarks.service_apps import App

pytestmark = [
    pytest.mark.slow,
    pytest.mark.programs,
    pytest.mark.skipif(sys.platform != "linux", reason="services are measured through /proc"),
]
REPEATS = int(os.environ.get("LEAKGUARD_REPEATS", "1"))
SEED = int(os.environ.get("LEAKGUARD_SEED", "1"))


@pytest.mark.parametrize("apps_in", [service_apps.sample_apps, service_apps.real_servers])
def test_the_answer_is_the_known_one_each_time(apps_in: Callable[[Path], Iterator[App]]) -> None:
    # PostgreSQL runs as another user, who may not look into pytest's own directories.
    with tempfile.TemporaryDirectory(prefix="leakguard-apps-") as name, service_apps.loaded(True):
        order = list(apps_in(Path(name))) * REPEATS
        random.Random(SEED).shuffle(order)
        for app in order:
            check = service_apps.check(app, 5000)
            assert app.is_right(check), (
                app.name,
                check.diagnosis and check.diagnosis.shape,
                check.problems,
            )
