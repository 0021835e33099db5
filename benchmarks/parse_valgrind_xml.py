"""Claim: an 80 MB valgrind XML is read 2x faster than with ``iterparse``, 5x faster than with
ValgrindCI, in 64 MB.

    python benchmarks/parse_valgrind_xml.py [--rounds 5] [--records 17000] [--sites 10000]
        [--file XML]

The generated file is shaped like valgrind's own about ``cc1plus`` (83 MB, 16,919 records, 551,521
frames, half of them without a name, few distinct ones), with deeper C++ names. Every reader runs in
a process of its own, round by round in turn; figures are medians over whole processes, start and
imports included. ``iterparse`` makes plain tuples of the same data and either drops each record at
once, as the least work anybody could do, or keeps them as we do.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
SEED = 20
NO_NAME, WITH_SOURCE = 0.48, 0.06
"""Shares of frames without symbols and with source lines; the rest has a name alone."""
LEAST_RATIO = {"iterparse, dropped": 2.0, "iterparse, kept": 2.0, "ValgrindCI": 5.0}
MOST_MB = 64.0

HEAD = """<?xml version="1.0"?>

<valgrindoutput>

<protocolversion>4</protocolversion>
<protocoltool>memcheck</protocoltool>

<preamble>
  <line>Memcheck, a memory error detector</line>
  <line>Using Valgrind-3.19.0 and LibVEX; rerun with -h for copyright info</line>
  <line>Command: /opt/app/bin/compiler big.cc</line>
</preamble>

<pid>4242</pid>
<ppid>4241</ppid>
<tool>memcheck</tool>

<args>
  <vargv>
    <exe>/usr/bin/valgrind.bin</exe>
    <arg>--show-leak-kinds=all</arg>
  </vargv>
  <argv>
    <exe>/opt/app/bin/compiler</exe>
    <arg>big.cc</arg>
  </argv>
</args>

<status>
  <state>RUNNING</state>
  <time>00:00:00:00.070 </time>
</status>


<status>
  <state>FINISHED</state>
  <time>00:00:01:05.926 </time>
</status>
"""
TAIL = "\n<errorcounts>\n</errorcounts>\n\n<suppcounts>\n</suppcounts>\n\n</valgrindoutput>\n"
RECORD = """
<error>
  <unique>{unique:#x}</unique>
  <tid>1</tid>
  <kind>Leak_{kind}</kind>
  <xwhat>
    <text>{text} in loss record {number:,} of {records:,}</text>
    <leakedbytes>{size}</leakedbytes>
    <leakedblocks>{blocks}</leakedblocks>
  </xwhat>
  <stack>
{stack}  </stack>
</error>
"""
KINDS = {
    "StillReachable": ("are still reachable", 90),
    "PossiblyLost": ("are possibly lost", 4),
    "IndirectlyLost": ("are indirectly lost", 3),
    "DefinitelyLost": ("are definitely lost", 3),
}
ALLOCATORS = (
    "malloc",
    "calloc",
    "realloc",
    "operator new(unsigned long)",
    "operator new[](unsigned long)",
)
WORDS = (
    "tree node type hash table build walk emit lower pass scope symbol value range cache token "
    "parse fold"
).split()


def generate(path: Path, records: int, sites: int) -> None:
    """Write the file, record by record; the same for the same arguments."""
    chance = random.Random(SEED)
    allocators = [
        _frame(0x48407B4 + 0x1A3 * i, "vgpreload_memcheck.so", name)
        for i, name in enumerate(ALLOCATORS)
    ]
    pool = list(_call_sites(chance, sites))
    main = _frame(0x5A392A, "compiler", "main")
    with path.open("w", encoding="utf-8") as stream:
        stream.write(HEAD)
        for number in range(1, records + 1):
            calls = min(38, max(2, round(chance.triangular(4, 56, 38))))
            # Some calls are on nearly every stack, most on a few.
            inner = "".join(pool[int(len(pool) * chance.random() ** 3)] for _ in range(calls))
            stream.write(_record(chance, number, records, chance.choice(allocators) + inner + main))
        stream.write(TAIL)


def _record(chance: random.Random, number: int, records: int, stack: str) -> str:
    kind = chance.choices([*KINDS], [weight for _, weight in KINDS.values()])[0]
    blocks = 1 + int(chance.paretovariate(1.2))
    size = blocks * chance.choice((16, 24, 64, 72, 120, 4088))
    amount = f"{size:,} bytes in {blocks:,} blocks"
    if kind == "DefinitelyLost" and chance.random() < 0.5:
        indirect = 8 * chance.randrange(1, 500)
        amount = (
            f"{size + indirect:,} ({size:,} direct, {indirect:,} indirect) bytes "
            f"in {blocks:,} blocks"
        )
        size += indirect
    text = f"{amount} {KINDS[kind][0]}"
    return RECORD.format(
        unique=number - 1,
        kind=kind,
        text=text,
        number=number,
        records=records,
        size=size,
        blocks=blocks,
        stack=stack,
    )


def _call_sites(chance: random.Random, sites: int) -> Iterator[str]:
    names = [_name(chance) for _ in range(max(1, sites // 4))]
    modules = ["compiler"] * 8 + [f"lib{word}.so.{index}" for index, word in enumerate(WORDS[:6])]
    address = 0x400000
    for _ in range(sites):
        address += chance.randrange(5, 900)
        module, kind = chance.choice(modules), chance.random()
        if kind < NO_NAME:
            yield _frame(address, module)
        elif kind > 1 - WITH_SOURCE:
            file = f"{chance.choice(WORDS)}-{chance.choice(WORDS)}.cc"
            yield _frame(address, module, chance.choice(names), file, chance.randrange(1, 4000))
        else:
            yield _frame(address, module, chance.choice(names))


def _name(chance: random.Random) -> str:
    word = "_".join(chance.sample(WORDS, 2))
    parameters = ", ".join(f"{chance.choice(WORDS)}_node*" for _ in range(chance.randrange(3)))
    if chance.random() < 0.8:
        return f"{word}({parameters})"
    key, value = chance.sample(WORDS, 2)
    return (
        f"std::_Hashtable<{key}, std::pair<{key} const, std::unique_ptr<ir::{value}<int>>>, "
        f"std::allocator<{value}>, "
        f"std::__detail::_Select1st>::{word}({parameters})::"
        f"{{lambda({key}&&)#1}}::operator()({key}&&) const"
    )


def _frame(address: int, module: str, name: str = "", file: str = "", line: int = 0) -> str:
    fields = [f"<ip>{address:#X}</ip>".replace("0X", "0x"), f"<obj>/opt/app/lib/{module}</obj>"]
    if name:
        fields.append(f"<fn>{escape(name)}</fn>")
    if file:
        fields += [
            f"<dir>/build/app/src/{file[:4]}</dir>",
            f"<file>{file}</file>",
            f"<line>{line}</line>",
        ]
    return "    <frame>\n" + "".join(f"      {field}\n" for field in fields) + "    </frame>\n"


def read_ours(path: Path) -> tuple[int, int, int]:
    """The parser alone, everything kept."""
    sys.path.insert(0, str(ROOT))
    from pytest_leakguard.programs.tools import valgrind_xml

    leaks = valgrind_xml.parse(path).leaks
    return (
        len(leaks),
        sum(len(leak.stack) for leak in leaks),
        sum(leak.size_bytes for leak in leaks),
    )


def read_and_name(path: Path) -> tuple[int, int, int]:
    """What ``pytest-leakguard check FILE`` does: recognise, parse, count once, name, group."""
    sys.path.insert(0, str(ROOT))
    from pytest_leakguard.core.settings import Settings
    from pytest_leakguard.programs.existing_reports import check_files

    (check,) = check_files([path], Settings())
    stacks = sum(len(finding.stack) for finding in check.findings)
    return len(check.findings), stacks, sum(total.size_bytes for _, total in check.totals)


def read_iterparse(path: Path, is_kept: bool = False) -> tuple[int, int, int]:
    """The standard library's streaming reader, with what was read cleared away."""
    kept, records, frames, size_bytes = [], 0, 0, 0
    events = ElementTree.iterparse(path, events=("start", "end"))
    _, root = next(events)
    for event, element in events:
        if event == "end" and element.tag == "error":
            stack = element.find("stack")
            record = (
                element.findtext("kind"),
                int(element.findtext("xwhat/leakedbytes") or 0),
                int(element.findtext("xwhat/leakedblocks") or 0),
                tuple(_plain_frame(node) for node in stack.iterfind("frame"))
                if stack is not None
                else (),
            )
            records, frames, size_bytes = (
                records + 1,
                frames + len(record[3]),
                size_bytes + record[1],
            )
            if is_kept:
                kept.append(record)
            root.clear()
    return records, frames, size_bytes


def _plain_frame(
    node: ElementTree.Element,
) -> tuple[int, str | None, str | None, str | None, str | None, str | None]:
    values = {child.tag: child.text for child in node}
    line = (values.get("dir"), values.get("file"), values.get("line"))
    return int(values["ip"] or "0", 16), values.get("obj"), values.get("fn"), *line


def read_valgrindci(path: Path) -> tuple[int, int, int]:
    """As its command line does; it has no sizes."""
    from ValgrindCI.parse import ValgrindData

    data = ValgrindData()
    data.parse(str(path))
    return data.get_num_errors(), sum(len(error.stack) for error in data.errors), 0


OURS = "ours, parse"
READERS: dict[str, Callable[[Path], tuple[int, int, int]]] = {
    OURS: read_ours,
    "ours, check_files": read_and_name,
    "iterparse, dropped": read_iterparse,
    "iterparse, kept": lambda path: read_iterparse(path, is_kept=True),
    "ValgrindCI": read_valgrindci,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One process that read the file once."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    answer: tuple[int, int, int]
    """Records (findings for ``check_files``), frames, bytes."""


def measure(reader: str, path: Path) -> Sample | None:
    """``None`` when the reader is not installed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--file", str(path), "--child", reader],
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print(f"{reader}: {done.stderr.strip().splitlines()[-1]}")
        return None
    told = json.loads(done.stdout)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(wall_s, cpu_s, told["peak_mb"], tuple(told["answer"]))


def run_child(reader: str, path: Path) -> None:
    """Read once, tell the answer and our own peak.

    The kernel's figure for a child may be its parent's.
    """
    answer = READERS[reader](path)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if Path("/proc/self/status").exists():
        lines = Path("/proc/self/status").read_text().splitlines()
        peak_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"answer": answer, "peak_mb": peak_kib * 1024 / 1e6}))


def run(path: Path, rounds: int) -> dict[str, list[Sample]]:
    """Every reader once per round."""
    samples: dict[str, list[Sample]] = {}
    for _ in range(rounds):
        for reader in READERS:
            if sample := measure(reader, path):
                samples.setdefault(reader, []).append(sample)
    return samples


def tell(samples: dict[str, list[Sample]]) -> None:
    """The table and the claims."""
    cpu_s = {
        reader: statistics.median(sample.cpu_s for sample in taken)
        for reader, taken in samples.items()
    }
    peak_mb = {reader: max(sample.peak_mb for sample in taken) for reader, taken in samples.items()}
    print(
        f"\n{'reader':<20}{'wall s':>8}{'CPU s':>8}{'CPU x ours':>12}"
        f"{'peak MB':>9}{'records':>9}{'frames':>9}"
    )
    for reader, taken in samples.items():
        wall_s, ratio = (
            statistics.median(sample.wall_s for sample in taken),
            cpu_s[reader] / cpu_s[OURS],
        )
        records, frames, _ = taken[0].answer
        print(
            f"{reader:<20}{wall_s:>8.2f}{cpu_s[reader]:>8.2f}{ratio:>12.2f}{peak_mb[reader]:>9.1f}{records:>9}{frames:>9}"
        )
    print()
    for reader, least in LEAST_RATIO.items():
        if reader in samples:
            ratio = cpu_s[reader] / cpu_s[OURS]
            verdict = "met" if ratio >= least else "NOT MET"
            print(f"{ratio:.1f}x as fast as {reader} (claim: {least:g}x): {verdict}")
    for reader in (OURS, "ours, check_files"):
        verdict = "met" if peak_mb[reader] < MOST_MB else "NOT MET"
        print(
            f"{reader}: {peak_mb[reader]:.1f} MB at most (claim: under {MOST_MB:g} MB): {verdict}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=17_000)
    parser.add_argument(
        "--sites", type=int, default=10_000, help="distinct call sites in the generated file"
    )
    parser.add_argument("--file", type=Path, help="read this XML instead of a generated one")
    parser.add_argument("--child", choices=[*READERS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(options.child, options.file)
        return
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as name:
        path = options.file or Path(name) / "generated.xml"
        if not options.file:
            generate(path, options.records, options.sites)
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {options.rounds} rounds")
        tell(run(path, options.rounds))


if __name__ == "__main__":
    main()
