"""One HTTP client of a loop: TCP, TLS or a unix socket, renewed every few requests."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ProtocolError, SSLError

from pytest_leakguard.core.errors import LeakguardError, UsageProblem
from pytest_leakguard.services.request_lines import Prepared

REQUEST_TIMEOUT_S = 30.0
"""Upper limit of the time one request may take, in seconds."""
_RENEW_AFTER = 10
"""Requests per connection; what is leaked per connection must show too, and keep-alive must be
tried."""
_HANDSHAKE_S = 2.0
"""Upper limit of the time that asking whether a port speaks TLS may take, in seconds."""
UNIX = "http+unix://"
"""How the address of a unix socket begins; its path follows with %2F for each slash."""
VERIFY = 'verify="ca.pem" names the authority to trust, verify=False trusts any certificate'
_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)  # Linux alone

Verify = bool | str


class RequestFailed(LeakguardError):
    """A request did not get the answer it should; failures prove nothing about memory."""


def context_of(verify: Verify) -> ssl.SSLContext:
    """Return how to check certificates; raises ``UsageProblem`` for a file that holds none."""
    if isinstance(verify, str) and not Path(verify).exists():
        raise UsageProblem(f"verify={verify!r}: there is no such file; {VERIFY}")
    try:
        is_folder = isinstance(verify, str) and Path(verify).is_dir()
        file = verify if isinstance(verify, str) and not is_folder else None
        folder = verify if isinstance(verify, str) and is_folder else None
        context = ssl.create_default_context(cafile=file, capath=folder)
    except (OSError, ssl.SSLError) as error:
        raise UsageProblem(f"verify={verify!r}: no certificates: {error}; {VERIFY}") from None
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _acknowledge_at_once(connection: HTTPConnection) -> None:
    """Have the kernel acknowledge the next segment without waiting 40 ms for data to send with it.

    Many servers send head and body apart, and hold the body back until the head is acknowledged.
    The kernel forgets this setting whenever data is sent.
    """
    if _QUICK_ACK is not None and connection.sock is not None:
        connection.sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)


class _Plain(HTTPConnection):
    def getresponse(self) -> Any:
        _acknowledge_at_once(self)
        return super().getresponse()


class _Tls(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        # Who says verify=False knows; urllib3 would warn at each connection.
        self.is_verified = True

    def getresponse(self) -> Any:
        _acknowledge_at_once(self)
        return super().getresponse()


class _Unix(HTTPConnection):
    path = ""

    def _new_conn(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(REQUEST_TIMEOUT_S)
        try:
            connection.connect(self.path)
        except OSError:
            connection.close()
            raise
        return connection


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Tls


def unix_path(url: str) -> str:
    """Return the path of the socket that ``url`` names; empty where it names none."""
    return unquote(url.removeprefix(UNIX).partition("/")[0]) if url.startswith(UNIX) else ""


class Client:
    """One connection at a time to one address."""

    def __init__(self, url: str, verify: Verify = True) -> None:
        self._url, self._parts, self._used = url, urlsplit(url), 0
        is_tls = self._parts.scheme == "https"
        self._tls = context_of(verify) if is_tls else None
        self._is_verified = verify is not False
        self._pool: urllib3.HTTPConnectionPool | None = None

    def send(self, request: Prepared) -> tuple[int, str, bytes]:
        """Return status, reason and content of the answer; raises ``RequestFailed``."""
        try:
            return self._exchange(request)
        except (OSError, HTTPError) as error:
            self.close()
            # ``OSError`` as the cause says that the connection broke.
            cause = error if isinstance(error, OSError) else ConnectionError(str(error))
            raise RequestFailed(self._in_words(error)) from cause

    def _exchange(self, request: Prepared) -> tuple[int, str, bytes]:
        if self._used >= _RENEW_AFTER:
            self.close()
        was_used = self._pool is not None
        try:
            return self._try(request)
        except (ProtocolError, ConnectionResetError, BrokenPipeError):
            self.close()
            if not was_used:
                raise
            # A server may close an idle connection at any time (RFC 9112, 9.3.1).
            return self._try(request)

    def _try(self, request: Prepared) -> tuple[int, str, bytes]:
        if self._pool is None:
            self._pool, self._used = self._new_pool(), 0
        self._used += 1
        answer = self._pool.urlopen(
            request.method,
            request.path,
            request.body,
            request.headers,
            retries=False,
            redirect=False,
            decode_content=False,
        )
        return answer.status, answer.reason or "", answer.data

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        host, port = self._parts.hostname or "127.0.0.1", self._parts.port
        wait = urllib3.Timeout(REQUEST_TIMEOUT_S)
        path = unix_path(self._url)
        if path:
            pool = urllib3.HTTPConnectionPool("localhost", timeout=wait)
            pool.ConnectionCls = type("_Unix", (_Unix,), {"path": path})
            return pool
        if self._tls is None:
            return _PlainPool(host, port, timeout=wait)
        more: dict[str, Any] = {} if self._is_verified else {"assert_hostname": False}
        return _TlsPool(host, port, timeout=wait, ssl_context=self._tls, **more)

    def _in_words(self, error: Exception) -> str:
        told = str(error) or type(error).__name__
        if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in told:
            return f"{told}: the certificate of {self._url} is not trusted; {VERIFY}"
        if isinstance(error, SSLError) and "WRONG_VERSION_NUMBER" in told:
            return f"{told}: {self._url} does not speak TLS; {_address('http')}"
        if isinstance(error, ProtocolError) and speaks_tls(self._url):
            return f"{told}: {self._url} speaks TLS; {_address('https')}"
        return told

    def close(self) -> None:
        """Close the connection."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None


def _address(scheme: str) -> str:
    return f'say so with ready="{scheme}://127.0.0.1:{{port}}/..." or {scheme}://... in the line'


def speaks_tls(url: str) -> bool:
    """Return whether what listens at a plain HTTP address answers a TLS handshake."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return False
    try:
        plain = socket.create_connection((parts.hostname, parts.port or 80), _HANDSHAKE_S)
        with plain, context_of(verify=False).wrap_socket(plain, server_hostname=parts.hostname):
            return True
    except (OSError, ValueError):
        return False
