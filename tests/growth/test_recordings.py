"""Recorded series in the formats other tools write."""

from __future__ import annotations

import json
import time

import pytest

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.growth.classify import judge
from pytest_leakguard.growth.recordings import read_series

PSRECORD = """\
# Elapsed time   CPU (%)     Real (MB)   Virtual (MB)   USS (MB)
       0.000        0.000       10.000      100.500        8.000
       1.250       99.900       10.500      100.500        8.250
"""
PIDSTAT = """\
Linux 6.1.0-18-amd64 (host) \t11/23/26 \t_x86_64_\t(2 CPU)

23:59:58      UID       PID  minflt/s  majflt/s     VSZ     RSS   %MEM  Command
23:59:59     1000       100      0.00      0.00   47448    2000   0.14  gunicorn
23:59:59     1000       101      0.00      0.00   47448    1000   0.14  gunicorn: worker [a b]

23:59:59      UID       PID  minflt/s  majflt/s     VSZ     RSS   %MEM  Command
00:00:00     1000       101      9.00      0.00   47448    1500   0.14  gunicorn: worker [a b]
Average:     1000       101      9.00      0.00   47448    1500   0.14  gunicorn
"""
SADF = """\
# hostname;interval;timestamp;CPU;%user
h;5;2026-02-06 23:00:30 UTC;-1;29.01
# hostname;interval;timestamp;kbmemfree;kbavail;kbmemused;%memused
h;5;2026-02-06 23:00:35 UTC;275920;1431252;342948;17.07
h;-1;2026-02-06 23:00:37 UTC;LINUX-RESTART\t(2 CPU)
h;5;2026-02-06 23:00:40 UTC;256488;1413512;360688;17.95
# hostname;interval;timestamp;runq-sz
h;5;2026-02-06 23:00:40 UTC;2
"""


def test_json_is_read_in_bytes_over_requests() -> None:
    text = json.dumps(
        {
            "label": "leak",
            "accept": ["leak"],
            "requests": [0, 10, 20],
            "rss": [1, 2, None],
            "heap_kb": [1, 1, 1],
            "t": [0.1, 0.2, 0.3],
            "threads": 4,
        }
    )
    recording = read_series(text, "log.json")
    assert recording.axis == "requests"
    assert recording.requests == (0, 10, 20)
    assert dict(recording.series) == {"rss": (1, 2, None), "heap": (1024, 1024, 1024)}
    assert recording.notes == ()


def test_psrecord_log_is_read_over_seconds_and_says_so() -> None:
    recording = read_series(PSRECORD, "activity.txt")
    assert (recording.axis, recording.requests) == ("seconds", (0, 1.25))
    assert recording.series["rss"] == (10 * 2**20, 10.5 * 2**20)
    assert recording.series["uss"] == (8 * 2**20, 8.25 * 2**20)
    assert recording.notes == ("activity.txt counts no requests: growth is per second",)


def test_psrecord_csv_is_read() -> None:
    recording = read_series("elapsed_time,nproc,cpu,mem_real,mem_virtual\n1,2,3,4,5\n", "p.csv")
    assert dict(recording.series) == {"procs": (2,), "rss": (4 * 2**20,)}


def test_pidstat_processes_are_added_up_past_midnight_and_idle_ones_count_on() -> None:
    recording = read_series(PIDSTAT, "pidstat.log")
    assert recording.series["rss"] == (3000 * 1024, 3500 * 1024)
    assert recording.requests == (86399, 86400)


@pytest.mark.parametrize(
    ("heading", "stamp", "axis"),
    [
        ("03:43:08 PM", "03:46:08 PM", 56768),
        ("# Time", "1516327521", 1516327521),
        ("# Time", "12:00:01 AM", 1),
        ("10时22分46秒", "10时22分47秒", 0),
    ],
)
def test_pidstat_of_other_options_and_locales_is_read(heading: str, stamp: str, axis: int) -> None:
    header = f"{heading}  UID  PID  minflt/s  majflt/s  VSZ  RSS  %MEM  Command"
    recording = read_series(f"Linux\n\n{header}\n{stamp} 0 7 0,00 0,00 900 50 0,1 x\n", "p")
    assert recording.series["rss"] == (50 * 1024,)
    assert recording.requests == (axis,)


def test_sar_export_keeps_the_memory_section_only() -> None:
    recording = read_series(SADF, "sar.csv")
    assert dict(recording.series) == {"memused": (342948 * 1024, 360688 * 1024)}
    assert recording.requests[1] - recording.requests[0] == 5


def test_csv_with_units_in_its_header_is_read() -> None:
    text = "requests,RSS (KiB),fds,comment\r\n0,10,3,a\r\n5,-,3,b\r\n9,12,4,\r\n"
    recording = read_series(text, "my.csv")
    assert dict(recording.series) == {"rss": (10240, None, 12288), "fds": (3, 3, 4)}
    assert recording.requests == (0, 5, 9)


def test_without_any_axis_samples_are_counted_and_it_says_so() -> None:
    recording = read_series('{"rss": [1, 2, 3]}', "r.json")
    assert (recording.axis, recording.requests) == ("samples", (0, 1, 2))
    assert "per sample" in recording.notes[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty; expected"),
        (" \n", "empty; expected"),
        ("[1, 2]", "expected an object"),
        ('{"rss": [1, 2}', "line 1: "),
        ('{"rss": [1, NaN]}', "rss[1]: 'nan'; expected a number"),
        ('{"rss": [1, Infinity]}', "rss[1]: 'inf'"),
        ('{"rss": [1, -5]}', "rss[1]: '-5'"),
        ('{"rss": [true]}', "rss[0]: 'True'"),
        ('{"rss": [1e300]}', "rss[0]: '1e+300'"),
        ('{"rss": [' + "9" * 400 + "]}", "expected a number from 0 to 2^63"),
        ('{"rss": [' + "9" * 5000 + "]}", "expected JSON with plain numbers"),
        ("[" * 100_000, "expected JSON with plain numbers"),
        ('{"requests": [0, 1], "rss": [1]}', "2 samples of requests; expected 1"),
        ('{"requests": [0, 1], "rss": [1, 1], "fds": [1]}', "1 samples of fds; expected 2"),
        ('{"requests": [0, 5, 4], "rss": [1, 1, 1]}', "sample 2: requests 4.0; expected a count"),
        ('{"requests": [0, null], "rss": [1, 1]}', "sample 1: requests None"),
        ('{"label": "x", "rss": []}', "no readings; expected a series"),
        ('{"rss": [null]}', "no readings"),
        ("requests,rss\n1,2\n2\n", "line 3: 1 columns; expected 2"),
        ("requests,rss\n1,x\n", "line 2: rss: 'x'; expected a number"),
        ("requests,rss\n2,1\n1,1\n", "line 3: requests 1.0; expected a count"),
        ("timestamp,rss\nyesterday,1\n", "line 2: 'yesterday'; expected a time"),
        ("a,b\n1,2\n", "no readings"),
        ("just some words\n", "no readings"),
        ("# hostname;timestamp;kbmemused\nh;2026-02-30 00:00:00;1", "expected a time"),
        ("12:00:00 UID minflt/s RSS\n12:00:01 0 0 1\n", "line 2: expected columns PID and RSS"),
    ],
)
def test_damage_is_named_with_its_place(text: str, says: str) -> None:
    with pytest.raises(MalformedReport) as caught:
        read_series(text, "bad.log")
    assert str(caught.value).startswith("bad.log: ")
    assert says in str(caught.value)


def test_many_rows_are_read_and_judged() -> None:
    started = time.process_time()
    text = "requests,rss\n" + "".join(f"{i},{40_000_000 + 100 * i}\n" for i in range(200_000))
    recording = read_series(text, "long.csv")
    assert judge(recording.requests, recording.series).shape == "leak"
    assert time.process_time() - started < 30
