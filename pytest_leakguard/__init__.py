"""pytest-leakguard: fail the build when a change leaks."""

__version__ = "0.1.0"
