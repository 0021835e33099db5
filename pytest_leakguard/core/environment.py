"""What this run is made with."""

from __future__ import annotations

import platform

from pytest_leakguard import __version__


def environment() -> dict[str, str]:
    """Python, platform and this package's version, as the report states them."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}-{platform.machine()}",
        "leakguard": __version__,
    }
