"""Runs one of the known functions again and again; prints what of each run is alive in the end.

``python known_function.py CASES NAME RUNS``
"""

from __future__ import annotations

import gc
import importlib.util
import json
import sys

from pytest_leakguard.tracker.tracker import Domain, Tracker


def main(path: str, name: str, runs: int) -> None:
    tracker = Tracker()
    tracker.install_python()
    tracker.install_native()  # before the module looks up malloc
    specification = importlib.util.spec_from_file_location("cases", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["cases"] = module
    specification.loader.exec_module(module)
    function = getattr(module, name)
    gc.collect()
    gc.freeze()
    for run in range(1, runs + 1):
        tracker.arm(run)
        function()
        tracker.disarm()
        gc.collect()
    result = {}
    for domain in Domain:
        amounts = tracker.series(1, runs, domain)
        result[domain.name] = [
            [amount.blocks, amount.size_bytes, amount.grown_bytes] for amount in amounts
        ]
    print(json.dumps(result))


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
