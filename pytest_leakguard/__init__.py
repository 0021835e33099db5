"""pytest-leakguard: fail the build when a change leaks.

The names in ``__all__`` are the public ones; every other module and name is private and may change
with any release. Each is imported when it is first used, so that a plugin that is switched off, and
a script that only asks for the version, pay for nothing.
"""

import sys

TYPE_CHECKING = False  # type checkers take it for true; importing typing takes longer than we may
if TYPE_CHECKING:
    from pytest_leakguard.assertions import assert_no_leak, watch
    from pytest_leakguard.core.checks import Check, Outcome
    from pytest_leakguard.core.errors import (
        BaselineError,
        InconclusiveCheck,
        LeakguardError,
        TargetNotStarted,
        UsageProblem,
    )
    from pytest_leakguard.core.leaks import Finding, Frame, LeakKind, Status
    from pytest_leakguard.pytest_integration.cases import ctest, gtest
    from pytest_leakguard.pytest_integration.fixture import Leakguard, Service
    from pytest_leakguard.verdict import Judged

__version__ = "0.1.0"
__all__ = [
    "BaselineError",
    "Check",
    "Finding",
    "Frame",
    "InconclusiveCheck",
    "Judged",
    "LeakKind",
    "Leakguard",
    "LeakguardError",
    "Outcome",
    "Service",
    "Status",
    "TargetNotStarted",
    "UsageProblem",
    "__version__",
    "assert_no_leak",
    "ctest",
    "gtest",
    "watch",
]

_HOMES = {
    "BaselineError": "core.errors",
    "Check": "core.checks",
    "Finding": "core.leaks",
    "Frame": "core.leaks",
    "InconclusiveCheck": "core.errors",
    "Judged": "verdict",
    "LeakKind": "core.leaks",
    "Leakguard": "pytest_integration.fixture",
    "LeakguardError": "core.errors",
    "Outcome": "core.checks",
    "Service": "pytest_integration.fixture",
    "Status": "core.leaks",
    "TargetNotStarted": "core.errors",
    "UsageProblem": "core.errors",
    "assert_no_leak": "assertions",
    "ctest": "pytest_integration.cases",
    "gtest": "pytest_integration.cases",
    "watch": "assertions",
}
"""The module of each public name."""

if not TYPE_CHECKING:  # or type checkers would believe in every name there is

    def __getattr__(name: str) -> object:
        """Imports a public name when it is first used."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = f"{__name__}.{_HOMES[name]}"
        __import__(home)
        value = getattr(sys.modules[home], name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
