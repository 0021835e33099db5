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


def test_a_file_is_its_targets_owners_whichever_of_its_directories_is_a_link(
    tmp_path: Path,
) -> None:
    package = tmp_path / "lib" / "site-packages" / "acme"
    package.mkdir(parents=True)
    (package / "pool.py").write_text("")
    (tmp_path / "file.py").symlink_to(package / "pool.py")
    (tmp_path / "directory").symlink_to(package)
    own = tmp_path / "own.py"
    own.write_text("")
    (package / "own.py").symlink_to(own)
    for name in ("file.py", "directory/pool.py", "directory/../acme/pool.py"):
        assert owner(str(tmp_path / name)) is Owner.LIBRARY, name
    assert owner(str(package / "own.py")) is Owner.USER
