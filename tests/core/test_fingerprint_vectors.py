"""Stacks whose fingerprints people have committed: none of them may ever change by accident.

The vectors are in ``tests/golden/fingerprints.json``. A change of one makes every accepted leak of
its shape a new leak in every baseline there is. So no script writes them: another answer needs another
word for the algorithm and a line in the changelog.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "tests/golden/fingerprints.json").read_text(encoding="utf-8")
GOLDEN: dict[str, Any] = json.loads(TEXT)
VECTORS: list[dict[str, Any]] = GOLDEN["vectors"]
NAMED: list[dict[str, Any]] = GOLDEN["names"]
BY_NAME = {vector["name"]: vector for vector in VECTORS}
A_FINGERPRINT = re.compile(r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{16}\b")


def stack_of(vector: dict[str, Any]) -> tuple[Frame, ...]:
    return tuple(Frame(**frame) for frame in vector["stack"])


@pytest.mark.parametrize("vector", VECTORS, ids=list(BY_NAME))
def test_a_stack_has_the_fingerprint_that_baselines_have(vector: dict[str, Any]) -> None:
    stack = stack_of(vector)
    leak = Leak(LeakKind(vector["kind"]), size_bytes=8, blocks=1, stack=stack)
    named = fingerprint.of_leak(leak, vector.get("hangs_on_its_like", False))
    assert (list(fingerprint.names(stack)), named) == (vector["names"], vector["fingerprint"])


@pytest.mark.parametrize("entry", NAMED, ids=[entry["source"] for entry in NAMED])
def test_a_screened_leak_has_the_fingerprint_of_its_line_and_holder(entry: dict[str, Any]) -> None:
    assert fingerprint.of_names(entry["family"], entry["names"]) == entry["fingerprint"]


def test_twins_have_one_fingerprint() -> None:
    groups = defaultdict(list)
    for vector in VECTORS:
        if "twins" in vector:
            groups[vector["twins"]].append(vector["fingerprint"])
    for fingerprints in groups.values():
        assert len(fingerprints) > 1
        assert len(set(fingerprints)) == 1


def test_only_what_has_the_same_names_shares_a_fingerprint() -> None:
    groups = defaultdict(set)
    for vector in VECTORS:
        groups[vector["fingerprint"]].add(tuple(vector["names"]))
    assert {name: called for name, called in groups.items() if len(called) > 1} == {}


def test_the_eighth_name_matters_and_the_ninth_does_not() -> None:
    eight, nine = BY_NAME["eight calls deep"], BY_NAME["nine calls deep"]
    assert (len(eight["stack"]), len(nine["stack"])) == (8, 9)
    assert nine["fingerprint"] == eight["fingerprint"]
    assert BY_NAME["eight calls deep, another eighth"]["fingerprint"] != eight["fingerprint"]


def test_every_kind_of_leak_has_a_vector() -> None:
    assert {vector["kind"] for vector in VECTORS} == {kind.value for kind in LeakKind}


def test_the_fingerprints_that_the_readme_shows_are_real() -> None:
    shown = set(A_FINGERPRINT.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    assert len(shown) >= 3
    assert shown <= {entry["fingerprint"] for entry in (*VECTORS, *NAMED)}


def test_the_algorithm_is_named_as_the_vectors_say() -> None:
    assert GOLDEN["algorithm"] == fingerprint.ALGORITHM
