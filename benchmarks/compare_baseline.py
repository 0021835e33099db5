"""Claim: comparing 10,000 findings with a baseline of 10,000 entries takes under a second.

    python benchmarks/compare_baseline.py [--rounds 9] [--findings 10000] [--entries 10000]

Three mixtures: an everyday one (most findings known and as large as accepted, some grown, new,
fixed, expired), the one where all is known, and the one where nothing matches. Reading the TOML
file, from its bytes to checked entries, is timed beside the comparison. CPU seconds of this
process, medians.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pytest_leakguard.baseline import compare as baseline
from pytest_leakguard.baseline import edit, store
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Finding, Frame, LeakKind

SEED = 20
MOST_S = 1.0
TODAY = dt.date(2026, 6, 1)
FINDINGS_PER_CHECK = 100
KINDS = (
    LeakKind.DEFINITELY_LOST,
    LeakKind.INDIRECTLY_LOST,
    LeakKind.POSSIBLY_LOST,
    LeakKind.STILL_REACHABLE,
)
CALLS = tuple(f"ir::Builder<{n}>::lower_{n % 37}(Node const*)" for n in range(2000))


def findings(chance: random.Random, count: int) -> list[Finding]:
    """Leaks with distinct names and stacks of eight calls."""
    return [
        Finding(
            fingerprint=f"{chance.getrandbits(64):016x}",
            kind=chance.choice(KINDS),
            size_bytes=chance.randrange(16, 65536),
            blocks=chance.randrange(1, 64),
            stack=tuple(
                Frame(call, "builder.cc", 7, "app", 0x400000 + n)
                for n, call in enumerate(_calls(chance))
            ),
        )
        for _ in range(count)
    ]


def _calls(chance: random.Random) -> list[str]:
    return chance.choices(CALLS, k=8)


def checks(found: list[Finding]) -> tuple[Check, ...]:
    """The findings spread over programs that all ran whole."""
    starts = range(0, len(found), FINDINGS_PER_CHECK)
    return tuple(
        Check(
            f"tests/test_app.py::test_{n}",
            "program",
            "valgrind",
            tuple(found[start : start + FINDINGS_PER_CHECK]),
        )
        for n, start in enumerate(starts)
    )


def accepted(chance: random.Random, found: list[Finding], is_everyday: bool) -> str:
    """A baseline that accepts ``found``.

    The everyday one has some ceilings too low and some dates in the past.
    """
    entries = []
    for number, finding in enumerate(found):
        fate = chance.random() if is_everyday else 1.0
        entries.append(
            baseline.AcceptedLeak(
                fingerprint=finding.fingerprint,
                kind=finding.kind,
                targets=(f"tests/test_app.py::test_{number // FINDINGS_PER_CHECK}",),
                max_bytes=finding.size_bytes // (2 if fate < 0.05 else 1),
                max_blocks=finding.blocks,
                reason="freed by the operating system when the compiler ends; ticket 1234",
                stack=tuple(frame.function or "" for frame in finding.stack),
                owner="team-compiler",
                expires=TODAY - dt.timedelta(days=1) if 0.05 <= fate < 0.07 else None,
            )
        )
    assert baseline.loads(_written(entries[:3]), "") == baseline.loads(
        edit.accept("", entries[:3]), ""
    )
    return _written(entries)


def _written(entries: list[baseline.AcceptedLeak]) -> str:
    """What ``known.accept`` would write, which takes its time over so many."""
    return "\n".join(
        [
            edit.HEADER,
            *(_table(entry) for entry in sorted(entries, key=lambda entry: entry.fingerprint)),
        ]
    )


def _table(entry: baseline.AcceptedLeak) -> str:
    lines = (
        f'[leak."{entry.fingerprint}"]',
        f'kind = "{entry.kind}"',
        f"targets = {json.dumps(entry.targets)}",
        f"max_bytes = {entry.max_bytes}",
        f"max_blocks = {entry.max_blocks}",
        f"stack = {json.dumps(entry.stack)}",
        f'owner = "{entry.owner}"',
        f'reason = "{entry.reason}"',
        *([f"expires = {entry.expires}"] if entry.expires else []),
    )
    return "".join(f"{line}\n" for line in lines)


def measure(
    path: Path, judged: tuple[Check, ...], rounds: int
) -> tuple[float, float, baseline.Comparison]:
    """Seconds to read, seconds to compare, and the answer."""
    reading, comparing = [], []
    for _ in range(rounds):
        start = time.process_time()
        entries = store.read_baseline(path)
        read = time.process_time()
        comparison = baseline.compare(judged, entries, TODAY)
        reading.append(read - start)
        comparing.append(time.process_time() - read)
    return statistics.median(reading), statistics.median(comparing), comparison


def cases(findings_count: int, entries_count: int) -> dict[str, tuple[list[Finding], str]]:
    """Findings and the text of a baseline by the name of the mixture."""
    chance = random.Random(SEED)
    old, new = findings(chance, entries_count), findings(chance, findings_count)
    common = max(0, min(findings_count, entries_count) * 9 // 10)
    text = accepted(chance, old, is_everyday=False)
    return {
        "everyday": (
            old[:common] + new[: findings_count - common],
            accepted(chance, old, is_everyday=True),
        ),
        "all known": ((old + new)[:findings_count], text),
        "nothing matches": (new, text),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--findings", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=10_000)
    options = parser.parse_args()
    print(
        f"{options.findings} findings, {options.entries} entries, "
        f"{options.rounds} rounds; CPU seconds\n"
    )
    print(f"{'mixture':<17}{'MB':>6}{'read':>8}{'compare':>9}{'both':>8}{'ratio':>8}   statuses")
    compared, both = [], []
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as name:
        for mixture, (found, text) in cases(options.findings, options.entries).items():
            path = Path(name) / "baseline.toml"
            path.write_text(text, encoding="utf-8")
            read_s, compare_s, answer = measure(path, checks(found), options.rounds)
            compared.append(compare_s)
            both.append(read_s + compare_s)
            counts = Counter(
                finding.status.value for check in answer.checks for finding in check.findings
            )
            counts["fixed"] = len(answer.fixed)
            words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
            print(
                f"{mixture:<17}{len(text) / 1e6:>6.1f}"
                f"{read_s:>8.2f}{compare_s:>9.3f}{both[-1]:>8.2f}"
                f"{read_s / compare_s:>7.0f}x   {words}"
            )
    print("\nratio: reading the file to comparing")
    for what, slowest_s in (("comparing", max(compared)), ("reading and comparing", max(both))):
        verdict = "met" if slowest_s < MOST_S else "NOT MET"
        print(f"{what}: {slowest_s:.2f} s at most (claim: {MOST_S:g} s): {verdict}")


if __name__ == "__main__":
    main()
