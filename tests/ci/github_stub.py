"""GitHub's interface as far as commenting needs it: a real HTTP server on loopback that keeps what it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class GitHub:
    """What the server holds."""

    def __init__(self) -> None:
        self.pulls: list[dict[str, Any]] = []
        self.comments: dict[int, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.refuse: tuple[int, str] | None = None
        self.url = ""

    def answer(self, method: str, path: str, data: Any) -> tuple[int, Any]:
        """Status and body."""
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        match method, parts.path.removeprefix("/repos/acme/shop/").split("/"):
            case "GET", ["pulls"]:
                found = [
                    one
                    for one in self.pulls
                    if one["label"] == query["head"] and query["state"] == "open"
                ]
                return 200, _page(found, query)
            case "GET", ["issues", number, "comments"]:
                on_it = [one for one in self.comments.values() if one["on"] == int(number)]
                return 200, _page(on_it, query)
            case "POST", ["issues", number, "comments"]:
                self.comment(int(number), data["body"], "Bot")
                return 201, {}
            case "PATCH", ["issues", "comments", identity]:
                self.comments[int(identity)]["body"] = data["body"]
                return 200, {}
        return 404, {"message": "Not Found"}

    def comment(self, number: int, body: str, author: str) -> None:
        """Adds one."""
        key = len(self.comments) + 1
        self.comments[key] = {"id": key, "on": number, "body": body, "user": {"type": author}}


def _page(found: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    size = int(query["per_page"])
    start = (int(query["page"]) - 1) * size
    return found[start : start + size]


@contextmanager
def serving() -> Iterator[GitHub]:
    """The server, for as long as the block lasts."""
    github = GitHub()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            data = json.loads(self.rfile.read(length)) if length else None
            github.asked.append(f"{self.command} {self.path}")
            status, body = (401, {"message": "Bad credentials"})
            if github.refuse:
                status, body = github.refuse[0], {"message": github.refuse[1]}
            elif self.headers.get("Authorization") == "Bearer a-token":
                status, body = github.answer(self.command, self.path, data)
            text = json.dumps(body).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{github.url}/elsewhere")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = _serve

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    github.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
