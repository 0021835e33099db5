"""Whose a file is, by its path."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from pytest_leakguard.explain.code_owner import Owner, owner


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="scripts lie beside the user's own then")
def test_a_script_that_pip_has_written_is_not_the_users_own_code() -> None:
    script = Path(sysconfig.get_path("scripts")) / "pytest"
    assert script.is_file()
    assert owner(str(script)) is Owner.INTERPRETER


def test_a_test_is_the_users_own_code() -> None:
    assert owner(__file__) is Owner.USER
