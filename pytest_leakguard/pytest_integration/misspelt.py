"""Refuses names that look like this plugin's and are nobody's; pytest itself only warns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import pytest

from pytest_leakguard.core.options import OPTIONS
from pytest_leakguard.pytest_integration import _pytest_internals

_ALIKE = 0.8
"""Share of letters that two names have in common, in order; ``leakgaurd`` has 0.89."""


def refuse_ini_names(config: pytest.Config) -> None:
    """Raises ``UsageError`` for one that nobody has declared and that looks like ours."""
    known = [option.ini for option in OPTIONS]
    for name in _pytest_internals.ini_names(config):
        if name in known or not (meant := meant_by(name, known)) or _is_declared(config, name):
            continue
        where = config.inipath or "-o"
        raise pytest.UsageError(f"leakguard: {where}: no option {name!r}; did you mean {meant!r}?")


def meant_by(name: str, known: Iterable[str]) -> str:
    """The known name that is meant; empty where ``name`` is another's."""
    plain = name.lower().replace("-", "_")
    close = difflib.get_close_matches(plain, list(known), n=1, cutoff=_ALIKE)
    if close:
        return close[0]
    return "leakguard" if plain.startswith("leakguard") else ""


def _is_declared(config: pytest.Config, name: str) -> bool:
    try:
        config.getini(name)
    except ValueError:
        return False
    except (pytest.UsageError, TypeError):  # it is, with another value than it should have
        return True
    return True
