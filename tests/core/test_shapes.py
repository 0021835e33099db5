"""Shapes and names of series stand in one place each, and the schema and the code agree with it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import pytest_leakguard
from pytest_leakguard.core.metric_names import SERVICE_COUNTERS, MetricName
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.counters.reader import COUNTERS
from pytest_leakguard.growth.answers import Trend
from pytest_leakguard.growth.metrics import METRICS, Source

PACKAGE = Path(pytest_leakguard.__file__).parent
ALSO_KINDS_OR_KEYS = {"blocks", "threads", "file_descriptors", "child_processes", "heap"}
"""Names that are words of report.json in other roles as well, so that a literal proves nothing."""
READERS = {"memory.py", "recordings.py"}
"""Modules whose literals are names of fields of /proc."""


def test_the_schema_knows_exactly_these_shapes() -> None:
    schema = json.loads((PACKAGE / "schemas/report.schema.json").read_text())
    found = [entry["enum"] for entry in objects(schema, "shape") if "enum" in entry]
    assert found
    for names in found:
        assert sorted(names) == sorted(Shape)


def objects(schema: object, key: str) -> Iterator[dict[str, list[str]]]:
    """Every object in ``schema`` that stands below ``key``."""
    if isinstance(schema, list):
        for entry in schema:
            yield from objects(entry, key)
    elif isinstance(schema, dict):
        for name, entry in schema.items():
            if name == key and isinstance(entry, dict):
                yield entry
            yield from objects(entry, key)


def test_there_is_one_type_of_answer_for_each_shape() -> None:
    shapes = [kind.shape for kind in get_args(Trend)]
    assert sorted(shapes) == sorted(Shape)


def test_every_counter_and_every_metric_has_a_name_from_the_table() -> None:
    assert {counter.metric for counter in COUNTERS} <= set(MetricName)
    assert {metric.name for metric in METRICS} <= set(MetricName)
    counted = [metric for metric in METRICS if metric.source is Source.COUNTER]
    one_by_one = [metric.name for metric in counted if metric.unit != "bytes"]
    assert tuple(one_by_one) == SERVICE_COUNTERS


def test_no_module_writes_the_name_of_a_series_as_a_string() -> None:
    names = set(MetricName) - ALSO_KINDS_OR_KEYS
    for path in PACKAGE.rglob("*.py"):
        if "agents" in path.parts or path.name in READERS or path.name == "metric_names.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in names:
                pytest.fail(f"{path}:{node.lineno}: {node.value!r}")
