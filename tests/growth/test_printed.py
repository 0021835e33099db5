"""What tools print in a loop, typed as people type it, is read in bytes and says what it took."""

from __future__ import annotations

import json

import pytest

from pytest_leakguard.core.errors import MalformedReport, UsageProblem
from pytest_leakguard.growth.recordings import Asked, read_series, unit_of

KIB, MIB, GIB = 2.0**10, 2.0**20, 2.0**30
SAR = """\
Linux 5.10.0 (web-1) \t11/23/2026 \t_x86_64_\t(4 CPU)

11:50:01 PM kbmemfree   kbavail kbmemused  %memused kbbuffers  kbcached
11:55:01 PM   5123456   9123456   6543210     40.10    123456   4123456

12:00:01 AM kbmemfree   kbavail kbmemused  %memused kbbuffers  kbcached
12:05:01 AM   5023456   9023456   6643210     40.70    123456   4123456
Average:      5073456   9073456   6593210     40.40    123456   4123456
"""
PS_AUX = """\
www       4711  1.0  2.5 512340 102400 ?       Ssl  Nov23  12:34 gunicorn: master [shop:app]
www       4712  1.0  2.5 512340  51200 ?       Sl   Nov23   1:04 gunicorn: worker [shop:app]
www       4711  1.0  2.5 512340 103424 ?       Ssl  Nov23  12:34 gunicorn: master [shop:app]
www       4712  1.0  2.5 512340  51200 ?       Sl   Nov23   1:04 gunicorn: worker [shop:app]
"""
PS_O = "  PID   RSS CMD\n 4711 102400 python app.py\n  PID   RSS CMD\n 4711 103424 python app.py\n"
FREE = """\
               total        used        free      shared  buff/cache   available
Mem:        16265400     6543210     1234567      123456     8487623    9123456
Swap:              0           0           0
               total        used        free      shared  buff/cache   available
Mem:        16265400     6643210     1134567      123456     8487623    9023456
Swap:              0           0           0
"""
FREE_H = """\
Every 1.0s: free -h                                web-1: Mon Nov 23 10:00:00 2026

               total        used        free      shared  buff/cache   available
Mem:            15Gi       6.2Gi       1.2Gi       120Mi       8.1Gi       8.5Gi
Swap:             0B          0B          0B
"""
FREE_M = """\
               total        used        free      shared  buff/cache   available
Mem:           15884        6390        1205         120        8288        8909
"""
TOP = """\
top - 10:00:00 up 1 day,  2:03,  1 user,  load average: 0.10, 0.20, 0.30
MiB Mem :  15884.2 total,   1205.3 free,   6390.1 used,   8288.8 buff/cache

    PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND
   4711 www       20   0  512340 102400  12345 S   1.0   0.6  12:34.56 gunicorn
   4712 www       20   0  512340   1.5g  12345 S   1.0   0.6   1:34.56 gunicorn

top - 10:00:03 up 1 day,  2:03,  1 user,  load average: 0.10, 0.20, 0.30
MiB Mem :  15884.2 total,   1205.3 free,   6391.1 used,   8288.8 buff/cache

    PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND
   4711 www       20   0  512340 103424  12345 S   1.0   0.6  12:34.56 gunicorn
   4712 www       20   0  512340   1.5g  12345 S   1.0   0.6   1:34.56 gunicorn
"""
PMAP = """\
4711:   python app.py
Address           Kbytes     RSS   Dirty Mode  Mapping
0000556d12345000     100      80      20 r-x-- python3.11
---------------- ------- ------- -------
total kB           98765   43210   12345
"""
STATUS = (
    "Name:\tpython\nVmRSS:\t  102400 kB\nRssAnon:\t   51200 kB\nVmSwap:\t 1024 kB\nThreads:\t3\n"
)
MEMINFO = "MemTotal:       16265400 kB\nMemFree:  1 kB\nMemAvailable:    9123456 kB\n"
SMAPS = """\
556d12345000-556d12346000 rw-p 00000000 00:00 0                          [heap]
Rss:                 100 kB
Anonymous:            90 kB
Swap:                 10 kB
7ffd12345000-7ffd12346000 rw-p 00000000 00:00 0                          [stack]
Rss:                  20 kB
Anonymous:            20 kB
Swap:                  0 kB
"""
DOCKER = (
    "\x1b[2J\x1b[HCONTAINER ID   NAME   CPU %   MEM USAGE / LIMIT    MEM %   NET I/O\n"
    "abc123         web    0.1%    12.5MiB / 1.9GiB     0.6%    1kB / 2kB\n"
    "def456         db     0.1%    112MiB / 1.9GiB      0.6%    1kB / 2kB\n"
)
KUBECTL = "NAME     CPU(cores)   MEMORY(bytes)\nshop-1   5m           123Mi\nshop-2   6m   125Mi\n"


def largest(*processes: tuple[int, int]) -> str:
    """One sample of ``ps aux --sort=-%mem | head``."""
    rows = ["USER  PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND"]
    for pid, size in processes:
        rows.append(f"www  {pid}  1.0  2.5 512340  {size} ?       Sl   Nov23   1:04 program{pid}")
    return "\n".join(rows) + "\n"


def test_of_the_largest_processes_those_are_added_up_that_stay_among_them() -> None:
    text = ""
    for number in range(20):
        others = (9, 80_000) if number % 5 else (7, 70_000)
        text += largest((1, 200_000), (2, 100_000 + number), others)
    recording = read_series(text, "ps.txt")
    assert recording.series["rss"] == tuple(
        (300_000 + number + 80_000) * KIB for number in range(20) if number % 5
    )
    assert any("3 processes that stay in it" in note for note in recording.notes)


def test_a_chosen_process_that_ends_is_no_machine() -> None:
    blocks = TOP.split("\n\ntop - ")[0]
    gone = "\n".join(line for line in blocks.splitlines() if "www" not in line)
    recording = read_series(f"{blocks}\n\n{gone}\n", "top.txt")
    assert recording.series["rss"] == (100 * MIB + 1.5 * GIB, 0)


def test_the_screen_of_watch_says_what_to_record() -> None:
    screen = "\x1b[?1049h\x1b[H\x1b[2JEvery 1.0s: free -h\x1b[4;1HMem:\x1b[4;17H23Gi\x1b[4;30H6"
    with pytest.raises(MalformedReport, match="while true; do free -h"):
        read_series(screen, "watch.txt")


CASES = {
    "sar -r": (SAR, "memused", (6543210 * KIB, 6643210 * KIB)),
    "ps aux": (PS_AUX, "rss", (153600 * KIB, 154624 * KIB)),
    "ps -o": (PS_O, "rss", (102400 * KIB, 103424 * KIB)),
    "free": (FREE, "memused", (7141944 * KIB, 7241944 * KIB)),
    "watch free -h": (2 * FREE_H, "memused", (6.5 * GIB, 6.5 * GIB)),
    "top": (TOP, "rss", (100 * MIB + 1.5 * GIB, 101 * MIB + 1.5 * GIB)),
    "pmap -x": (2 * PMAP, "rss", (43210 * KIB, 43210 * KIB)),
    "status": (2 * STATUS, "anon", (52224 * KIB, 52224 * KIB)),
    "meminfo": (2 * MEMINFO, "memused", (7141944 * KIB, 7141944 * KIB)),
    "smaps": (2 * SMAPS, "anon", (120 * KIB, 120 * KIB)),
    "docker stats": (2 * DOCKER, "rss", (124.5 * MIB, 124.5 * MIB)),
    "kubectl top": (2 * KUBECTL, "rss", (248 * MIB, 248 * MIB)),
    "memory.current": ("104857600\n105906176\n", "rss", (100 * MIB, 101 * MIB)),
}


@pytest.mark.parametrize("tool", CASES)
def test_a_loop_of_a_tool_is_read_in_bytes(tool: str) -> None:
    text, series, values = CASES[tool]
    recording = read_series(text, "file.txt")
    assert recording.series[series] == values
    assert recording.notes[0].startswith("read as ")


def test_clocks_are_the_axis_also_past_midnight() -> None:
    sar, top = read_series(SAR, "sar.txt"), read_series(TOP, "top.txt")
    assert (sar.axis, sar.requests[1] - sar.requests[0]) == ("seconds", 600)
    assert (top.axis, top.requests[1] - top.requests[0]) == ("seconds", 3)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        (2 * FREE_M, "Say --unit MiB, or record with free -h"),
        ("51234\n51300\n51400\n", "say their unit: --unit B, KiB (as ps prints) or MiB"),
        ("PID PPID CMD %MEM %CPU\n1 0 init 0.1 0.0\n", "expected the column RSS"),
        ("556d12345000-556d12346000 rw-p 00000000 00:00 0 [heap]\n", "record /proc/PID/smaps"),
        ('"Time","shop"\n1700000000000,12500000\n', "--column (a part of its heading) and --unit"),
    ],
)
def test_what_cannot_be_told_is_asked_for(text: str, question: str) -> None:
    with pytest.raises(MalformedReport, match=r"file\.txt") as caught:
        read_series(text, "file.txt")
    assert question in str(caught.value)


def test_the_answer_to_the_question_is_taken() -> None:
    in_mib = read_series(2 * FREE_M, "free.txt", Asked(unit_of("MiB")))
    assert in_mib.series["memused"] == (6975 * MIB, 6975 * MIB)
    in_kib = read_series("51234\n51300\n", "rss.txt", Asked(unit_of("KiB")))
    assert in_kib.series["rss"] == (51234 * KIB, 51300 * KIB)
    grafana = '"Time","shop","other"\n1700000000000,12.5,1\n1700000060000,13,1\n'
    recording = read_series(grafana, "g.csv", Asked(unit_of("MiB"), "shop"))
    assert recording.series["rss"] == (12.5 * MIB, 13 * MIB)
    assert recording.requests == (1700000000, 1700000060)
    with pytest.raises(UsageProblem, match="expected B, KiB, MiB or GiB"):
        unit_of("furlongs")


def test_grafana_with_units_and_a_metric_of_prometheus_is_read() -> None:
    text = (
        '"Time","process_resident_memory_bytes{job=""shop""}"\n'
        '"2026-11-23 10:00:00","12.5 MiB"\n"2026-11-23 10:01:00","13 MiB"\n'
    )
    recording = read_series(text, "grafana.csv")
    assert recording.series["rss"] == (12.5 * MIB, 13 * MIB)
    assert recording.requests[1] - recording.requests[0] == 60


def prometheus(*metrics: dict[str, str]) -> str:
    values = [[1700000000, "1000000"], [1700000060, "1100000"]]
    result = [{"metric": metric, "values": values} for metric in metrics]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


def test_prometheus_is_read_summed_over_pods_and_asked_where_kinds_differ() -> None:
    name = "__name__"
    pods = [{name: "process_resident_memory_bytes", "pod": pod} for pod in ("a", "b")]
    recording = read_series(prometheus(*pods), "prom.json")
    assert (recording.axis, recording.series["rss"]) == ("seconds", (2_000_000, 2_200_000))
    mixed = prometheus(*pods, {name: "process_open_fds", "pod": "a"})
    with pytest.raises(MalformedReport, match="--column"):
        read_series(mixed, "prom.json")
    chosen = read_series(mixed, "prom.json", Asked(column="open_fds"))
    assert chosen.series["fds"] == (1_000_000, 1_100_000)


def test_milliseconds_and_timestamps_are_seconds() -> None:
    text = json.dumps({"timestamps": [1.7e12, 1.7e12 + 60_000], "rss": [1e6, 2e6]})
    recording = read_series(text, "log.json")
    assert (recording.axis, recording.requests[1] - recording.requests[0]) == ("seconds", 60)
    elapsed = json.dumps({"time_ms": [0, 1500], "rss": [1e6, 2e6]})
    assert read_series(elapsed, "log.json").requests == (0, 1.5)
