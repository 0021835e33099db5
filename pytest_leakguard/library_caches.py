"""Caches of the standard library and of test tools, which fill up where every run brings new keys.

CPython's own hunt for reference leaks (``test.libregrtest.utils.clear_caches``) empties those of the library too. They
remember nothing but results that are computed again when they are missing; hypothesis' are not the tested code's.
"""

from __future__ import annotations

import sys

_CLEARED_BY = (
    ("re", "purge"),
    ("urllib.parse", "clear_cache"),
    ("struct", "_clearcache"),
    ("_strptime", "_regex_cache.clear"),
    ("filecmp", "clear_cache"),
    ("fnmatch", "_compile_pattern.cache_clear"),
    ("tokenize", "_compile.cache_clear"),
    ("hypothesis.strategies._internal.utils", "clear_strategy_cache"),
    ("hypothesis.internal.conjecture.data", "STRUCTURAL_COVERAGE_CACHE.clear"),
    ("hypothesis.internal.conjecture.data", "POOLED_CONSTRAINTS_CACHE.clear"),
)


def empty() -> None:
    """Empties those whose module has been imported; one that this Python does not have is passed over."""
    for module, path in _CLEARED_BY:
        found: object = sys.modules.get(module)
        for name in path.split("."):
            found = getattr(found, name, None)
        if callable(found):
            found()
    for clear in getattr(sys.modules.get("typing"), "_cleanups", ()):
        clear()
