"""The sample programs as a user would test them: leaky ones must fail, fixed twins must pass.

Run ``make -C sample_apps`` first, then ``pytest --leakguard sample_apps``.
"""

import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NATIVE = sorted(path.parent.name for path in HERE.glob("native/*/expected.json"))
PYTHON = sorted(path.parent.name for path in HERE.glob("python/*/expected.json"))


def settings(group, name):
    """How to run this program: its arguments, and what is known of its end."""
    expected = json.loads((HERE / group / name / "expected.json").read_text())
    return expected["args"], {
        "expected_exit": expected["expected_exit"],
        "timeout": 5 if name == "ignores_sigterm" else expected["timeout_s"],
        "kinds": "all" if name == "reachable_growth" else None,
    }


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("twin", ["leaky", "fixed"])
def test_under_valgrind(leakguard, name, twin):
    arguments, how = settings("native", name)
    leakguard.run([HERE / "build/plain" / name / twin, *arguments], tool="valgrind", **how)


@pytest.mark.parametrize("name", ["definite", "dlopen_closed", "fork_children", "thread"])
@pytest.mark.parametrize("twin", ["leaky", "fixed"])
def test_built_with_address_sanitizer(leakguard, name, twin):
    arguments, how = settings("native", name)
    leakguard.run([HERE / "build/asan" / name / twin, *arguments], **how)


@pytest.mark.parametrize("name", ["cache_leak"])
@pytest.mark.parametrize("twin", ["leaky", "fixed"])
def test_python_program(leakguard, name, twin):
    arguments, how = settings("python", name)
    leakguard.run(
        [sys.executable, HERE / "python" / name / f"{twin}.py", *arguments], tool="memray", **how
    )
