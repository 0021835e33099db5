"""Who is told of the interpreter's audit events."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_leakguard.counters import audit


def heard(event: str, arguments: tuple[Any, ...]) -> None:
    """A listener."""


def test_an_event_is_asked_for_once_however_often_somebody_listens_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked_for: list[str] = []
    monkeypatch.setattr(audit, "_listeners", {})
    monkeypatch.setattr(audit, "_ways", [])
    audit.hear_through(lambda listener: asked_for.append)
    for _ in range(3):
        audit.listen(("open", "os.mkdir"), heard)
    assert asked_for == ["open", "os.mkdir"]


def test_the_one_who_listens_last_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(audit, "_listeners", {})
    monkeypatch.setattr(audit, "_ways", [str])
    audit.listen(("open",), heard)
    audit.listen(("open",), lambda event, arguments: told.append(event))
    audit._hook("open", ())
    audit._hook("os.mkdir", ())
    assert told == ["open"]
