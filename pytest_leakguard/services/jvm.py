"""Asks a JVM what ``jcmd`` asks it, without the half second that each ``jcmd`` takes to start.

The first question is ``jcmd``'s own, after which the JVM listens on a socket: one line with the
version of the protocol, the command, and three arguments, each ended by a zero byte.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.processes import supervisor, tree

_PART_BYTES = 1 << 16
"""Bytes of an answer that are read at once."""


def jcmd_of(pid: int) -> str | None:
    """Return the one of the service's own JDK, or the one that is found first.

    ``None`` where there is none, or the process is no JVM.
    """
    if tree.runtime([pid]) != "jvm":
        return None
    own = Path(tree.target_of(Path(f"/proc/{pid}/exe"))).with_name("jcmd")
    if os.access(own, os.X_OK):
        return str(own)
    found = shutil.which("jcmd")
    return os.path.realpath(found) if found else None


def ask(pid: int, timeout_s: float, *command: str) -> str | None:
    """Return what the JVM says; ``None`` where it does not answer, or not within that time."""
    jcmd = jcmd_of(pid)
    if jcmd is None:
        return None
    try:
        answer = _ask_directly(pid, " ".join(command), timeout_s)
    except OSError:  # nobody has asked it before, or it is somebody else's
        answer = None
    if answer is not None:
        return answer
    try:
        code, out, _ = supervisor.capture([jcmd, str(pid), *command], timeout_s)
    except LeakguardError:
        return None
    return out.decode("utf-8", "replace") if code == 0 else None


def _ask_directly(pid: int, command: str, timeout_s: float) -> str | None:
    request = b"".join(word.encode() + b"\0" for word in ("1", "jcmd", command, "", ""))
    answer = b""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(timeout_s)
        caller.connect(f"/proc/{pid}/root/tmp/.java_pid{pid}")
        caller.sendall(request)
        while part := caller.recv(_PART_BYTES):
            answer += part
    status, _, text = answer.decode("utf-8", "replace").partition("\n")
    return text if status == "0" else None
