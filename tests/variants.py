"""Which variants of a test every run makes, and which ones ``make test-all`` makes as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def variants(values: Iterable[Any], quick: Iterable[Any]) -> list[Any]:
    """All values, those that are not among the quick ones marked as slow."""
    chosen = list(quick)
    found: list[Any] = []
    for value in values:
        is_quick = value in chosen
        found.append(value if is_quick else pytest.param(value, marks=pytest.mark.slow))
    return found
