"""On which port a service is, and whether it answers.

By HTTP, TCP, a line that it writes, or as a callable says.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from pytest_leakguard.core.errors import LeakguardError, UsageProblem
from pytest_leakguard.services.client import UNIX, VERIFY, Verify, context_of, unix_path

HOST = "127.0.0.1"
_STEADY_S = 0.5
"""Least life of a service that offers nothing to ask, in seconds, before it is ready."""
_TCP_TIMEOUT_S = 1.0
"""Upper limit of the time a connection may take, in seconds."""
_HTTP_TIMEOUT_S = 2.0
"""Upper limit of the time an answer may take, in seconds."""


class NeverReady(LeakguardError):
    """However long one waits, the question will not be answered."""


Ready = str | Callable[[], object] | None


def free_port() -> int:
    """A TCP port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def is_port_taken(port: int) -> bool:
    """Whether somebody answers there already."""
    with socket.socket() as probe:
        probe.settimeout(_TCP_TIMEOUT_S)
        return probe.connect_ex((HOST, port)) == 0


def with_port(text: str, port: int) -> str:
    """``text`` with the port filled in."""
    return text.replace("{port}", str(port))


def port_in(ready: Ready) -> int:
    """The port a fixed URL names; 0 when it names none."""
    found = re.match(r"\w+://[^/]*:(\d+)", ready) if isinstance(ready, str) else None
    return int(found[1]) if found else 0


def base_in(ready: Ready, port: int) -> str:
    """``http://HOST:PORT`` of a URL that is to be asked; empty when there is none."""
    if isinstance(ready, str) and ready.startswith(UNIX):
        return UNIX + with_port(ready, port).removeprefix(UNIX).partition("/")[0]
    found = re.match(r"https?://[^/]+", with_port(ready, port)) if isinstance(ready, str) else None
    return found[0] if found else ""


def question(
    ready: Ready,
    port: int,
    uses_port: bool,
    output: Callable[[], str],
    verify: Verify = True,
) -> Callable[[], str]:
    """Return what to ask until it is ready: empty then, and else what is missing.

    ``output`` gives what the service has written. Raises ``UsageProblem`` when nothing can be asked
    like this.
    """
    if callable(ready):
        asked = ready
        return lambda: _ask_callable(asked)
    if ready is None:
        if uses_port:
            return lambda: _ask_tcp(HOST, port)
        since = time.monotonic()
        return lambda: "" if time.monotonic() - since >= _STEADY_S else "it has only just started"
    url = with_port(ready, port)
    scheme, _, rest = url.partition(":")
    if scheme in ("http", "https"):
        context = context_of(verify)
        return lambda: _ask_http(url, context)
    if url.startswith(UNIX):
        path = unix_path(url)
        return lambda: _ask_unix(path)
    if scheme == "tcp" and (found := re.fullmatch(r"//(.+):(\d+)/?", rest)):
        host, number = found[1], int(found[2])
        return lambda: _ask_tcp(host, number)
    if scheme == "log":
        return lambda: "" if re.search(rest, output()) else f"its output does not match {rest!r}"
    raise UsageProblem(
        f"ready={ready!r}: expected http://…, https://…, {UNIX}…, "
        "tcp://HOST:PORT, log:PATTERN or a callable"
    )


def _ask_callable(ready: Callable[[], object]) -> str:
    try:
        return "" if ready() else f"{getattr(ready, '__name__', 'ready')} says not yet"
    except Exception as error:  # whatever a user's probe raises while the service is not up
        return f"{getattr(ready, '__name__', 'ready')} raised {error!r}"


def _ask_tcp(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), _TCP_TIMEOUT_S).close()
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"
    return ""


def _ask_unix(path: str) -> str:
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(_TCP_TIMEOUT_S)
            caller.connect(path)
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def _ask_http(url: str, context: ssl.SSLContext) -> str:
    # A proxy of the environment would answer for the service.
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with direct.open(url, timeout=_HTTP_TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code} {error.reason}"
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise NeverReady(
                f"{url}: its certificate is not trusted ({reason.verify_message}); {VERIFY}"
            ) from None
        return f"{url}: {getattr(error, 'reason', error)}"
