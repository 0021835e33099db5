"""One line of a service is one finding, however a request came there."""

from __future__ import annotations

from pytest_leakguard.core.leaks import Finding, Frame, LeakKind
from pytest_leakguard.services.lines import one_per_line

OWN = Frame("order", "/srv/shop/app.py", 9)
ENDPOINT = Frame("run_endpoint", "/v/lib/python3.12/site-packages/fastapi/routing.py", 381)
OUTER = Frame("app", "/v/lib/python3.12/site-packages/starlette/routing.py", 62)
MAIN = Frame("<module>", "/srv/shop/app.py", 20)
SCRIPT = Frame("<module>", "/v/bin/uvicorn", 8)
JSON = Frame("loads", "/usr/lib/python3.12/json/__init__.py", 346)


def finding(name: str, size_bytes: int, *stack: Frame) -> Finding:
    return Finding(name, LeakKind.PYTHON_OBJECTS, size_bytes, size_bytes // 10, stack)


def test_one_line_that_is_reached_in_several_ways_is_one_finding() -> None:
    found = one_per_line(
        [
            finding("a", 100, OWN, ENDPOINT, SCRIPT),
            finding("b", 300, OWN, ENDPOINT, OUTER, SCRIPT),
            finding("c", 50, JSON, OWN, ENDPOINT, SCRIPT),
        ]
    )
    assert [(one.fingerprint, one.size_bytes, one.blocks) for one in found] == [("b", 450, 45)]
    assert found[0].former == ("a", "c")


def test_what_a_library_leaves_at_a_call_that_leads_there_is_counted_there() -> None:
    """The interpreter's free lists hand out again what the library has given back."""
    for start in (SCRIPT, MAIN):
        found = one_per_line(
            [
                finding("library", 500, ENDPOINT, OUTER, start),
                finding("own", 100, OWN, ENDPOINT, OUTER, start),
            ]
        )
        assert [(one.fingerprint, one.size_bytes) for one in found] == [("own", 600)]


def test_what_leaks_elsewhere_stays_a_finding_of_its_own() -> None:
    elsewhere = Frame("order", "/srv/shop/app.py", 12)
    native = Finding("n", LeakKind.DEFINITELY_LOST, 8, 1, (OWN,))
    found = one_per_line(
        [
            finding("own", 100, OWN, ENDPOINT),
            finding("other", 100, elsewhere, ENDPOINT),
            finding("library", 100, JSON, OUTER),
            native,
        ]
    )
    assert {one.fingerprint for one in found} == {"own", "other", "library", "n"}
