"""Lines of a log that are wrapped in JSON, and lines that tell that a writer has ended.

A report that is clean by that nothing follows needs a later line. Where the prefixes of writers
divide a log, the line that proves the end stands in another stream: that of docker compose, of
CTest, of the next step of a job, or of systemd.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator

_TEXTS = ("log", "message", "MESSAGE", "textPayload", "msg", "line")
"""Where docker, Kubernetes' collectors, journald's JSON, Google Cloud and Loki keep a line."""
_ENDED = re.compile(
    rb"([\w.-]{1,100}) exited with code (?:\d{1,2}|1[01]\d|12[0-7])\s*$"  # docker compose
    rb"|\s*\d{1,6}/\d{1,6} Test +#(\d{1,6}): .*(?:Passed|\*\*\*Failed)"  # ctest -V
)
"""With a status of its own: a program that a signal ended may have been inside of its check."""
_UNIT_ENDED = re.compile(
    rb"([\w.@-]{1,100})\.service: "
    rb"(?:Deactivated successfully|Main process exited, code=exited|Succeeded)"
)


def unwrapped(line: bytes) -> bytes:
    """The text that an object of JSON in one line holds; the line itself where it is none."""
    if not line.startswith(b"{"):
        return line
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line
    texts = (entry.get(name) for name in _TEXTS) if isinstance(entry, dict) else ()
    text = next((text for text in texts if isinstance(text, str)), None)
    if text is None:
        return line
    return text.removesuffix("\n").encode("utf-8", "backslashreplace") + b"\n"


def ended(text: bytes, writer: str, writers: Collection[str]) -> Iterator[str]:
    """Those of ``writers`` that this line, which ``writer`` has written, proves to have ended."""
    if found := _ENDED.match(text):
        name = (found.group(1) or found.group(2)).decode("utf-8", "backslashreplace")
        yield from (each for each in writers if each == name)
    elif found := _UNIT_ENDED.match(text):
        unit = found.group(1).decode("utf-8", "backslashreplace")
        yield from (each for each in writers if f" {unit}[" in f" {each}")
    elif "\t" in writer and writer not in writers:  # the next step of a job
        job = writer.partition("\t")[0]
        yield from (each for each in writers if each.startswith(f"{job}\t"))
