"""What to give pytest for it to run one test again, in the directory it was started in."""

from __future__ import annotations

import os
import shlex

import pytest

from pytest_leakguard.counters.originals import Original


def reproducing(item: pytest.Item) -> str:
    """The test's id, which is relative to the root directory; elsewhere its module or its path."""
    config = item.config
    path, separator, rest = item.nodeid.partition("::")
    here = str(config.invocation_params.dir)
    if Original.exists(f"{here}{os.sep}{path}"):
        return shlex.quote(item.nodeid)
    module = getattr(getattr(item, "module", None), "__name__", "")
    if config.getoption("pyargs", False) and module:
        return f"--pyargs {shlex.quote(f'{module}{separator}{rest}')}"
    return shlex.quote(f"{os.path.relpath(item.path, here)}{separator}{rest}")
