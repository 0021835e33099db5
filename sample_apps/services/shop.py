"""A small shop: the incident's service, once per way of growing. SHOP says which.

Run it behind two workers: SHOP=leak gunicorn -w 2 -b 127.0.0.1:8000 shop:app
"""

import os
import threading

from flask import Flask, request

app = Flask(__name__)
MODE = os.environ.get("SHOP", "fixed")
REQUESTS = 0
AUDIT = []
ROUTES = {}
PINNED = []


@app.get("/healthz")
def health():
    return "ok"


@app.get("/orders/<int:number>")
def order(number):
    global REQUESTS
    REQUESTS += 1
    BEHAVIOURS[MODE]()
    return {"order": number, "state": "shipped"}


@app.post("/cart")
def cart():
    return {"items": len(request.get_json(silent=True) or {})}, 201


def fixed():
    """Nothing stays behind."""
    len(b"x" * (10 * 1024))


def leak():
    """BUG: what was written for the audit is never handed over, so each order leaves 10 KiB."""
    AUDIT.append(b"x" * (10 * 1024))


def slow_leak():
    """BUG: 64 bytes per order."""
    AUDIT.append(bytes(31))  # 33 bytes of header; Python rounds up to 64


def rare_leak():
    """BUG: one order in a hundred leaves 10 KiB."""
    if REQUESTS % 100 == 0:
        AUDIT.append(b"x" * (10 * 1024))


def cache():
    """A route cache of 300 entries: grows until it is full."""
    ROUTES[REQUESTS % 300] = b"x" * (8 * 1024)


def burst():
    """The daily report is loaded once and kept."""
    if REQUESTS == 60:
        AUDIT.append(bytearray(b"x" * (20 * 1024 * 1024)))


def fragmentation():
    """Each order takes more room for a moment; a small object in each stretch keeps all of it."""
    parts = [bytes(440) for _ in range(8 * REQUESTS)]
    PINNED[:] = parts[:: max(1, len(parts) // 64)]


def descriptor_leak():
    """BUG: the log is opened for each order and never closed."""
    AUDIT.append(os.open(os.devnull, os.O_WRONLY))


def thread_leak():
    """BUG: each order starts a mailer that waits for ever."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()


BEHAVIOURS = {
    one.__name__: one
    for one in (
        fixed,
        leak,
        slow_leak,
        rare_leak,
        cache,
        burst,
        fragmentation,
        descriptor_leak,
        thread_leak,
    )
}
