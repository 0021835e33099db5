"""Comments on a pull request from a second workflow, which trusts nothing that the first one left.

The reports come from a run of the pull request's own code, perhaps from a fork: they are read as
data, within limits, and every word of them is made inert. Which pull request is meant, and how its
run ended, is taken from the event that GitHub itself has written, never from the reports.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_leakguard.core.errors import LeakguardError, MalformedReport, UsageProblem
from pytest_leakguard.core.text import one_line
from pytest_leakguard.reporters import json_reader, markdown

MARKER = "<!-- pytest-leakguard -->"
MOST_CHARACTERS = 65_536
"""GitHub refuses longer comments."""
_MOST_BODY = 60_000
"""Bytes of the report's part of a comment, so that the head above it always fits."""
_LARGEST_REPORT = 64 << 20
"""Bytes of a ``report.json`` that is read; a larger one was made to use up memory."""
_LARGEST_ANSWER = 16 << 20
"""Bytes read of one answer of GitHub's."""
_PER_PAGE = 100
"""Entries that GitHub gives at most in one answer."""
_MOST_PAGES = 20
"""Answers asked for; a pull request with more comments gets a new one from us."""
_TIMEOUT_S = 30.0
"""Seconds to wait for one answer."""
_SHOWN_OF_COMMIT = 12
"""Digits of a commit that people are shown."""
_CONCLUSIONS = {"success": "✅ passed", "failure": "❌ failed", "cancelled": "⚪ was cancelled"}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """The run of the first workflow, as GitHub describes it."""

    conclusion: str
    commit: str
    branch: str
    owner: str
    """Of the repository that the branch is in; another one for a fork."""
    url: str


def post(directory: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Writes the comment, or writes it anew; returns what was done. Raises ``LeakguardError``."""
    run = _finished_run(environment)
    api = _Api(environment)
    number = api.open_pull_request(run)
    if number is None:
        commit = run.commit[:_SHOWN_OF_COMMIT]
        return f"no open pull request has {commit} as its head, so there is nothing to comment on"
    text = body(directory, run)
    comment = api.own_comment(number)
    if comment is None:
        api.ask("POST", f"issues/{number}/comments", {"body": text})
        return f"commented on pull request {number}"
    api.ask("PATCH", f"issues/comments/{comment}", {"body": text})
    return f"renewed the comment on pull request {number}"


def body(directory: Path, run: FinishedRun) -> str:
    """The comment as Markdown, within what GitHub takes.

    GitHub's own words come first, then those of the report.
    """
    ended = _CONCLUSIONS.get(run.conclusion, f"❌ ended as {markdown.code(run.conclusion)}")
    commit = markdown.code(run.commit[:_SHOWN_OF_COMMIT])
    head = f"{MARKER}\n[The run]({run.url}) for {commit} {ended}.\n\n"
    return head + _of_report(directory)


def _of_report(directory: Path) -> str:
    path = directory / "report.json"
    try:
        if path.is_symlink() or (path.exists() and path.stat().st_size > _LARGEST_REPORT):
            raise MalformedReport("report.json is a link, or larger than 64 MiB")
        report = json_reader.read_run(path)
        return markdown.render(report.judge(), report, _MOST_BODY)
    except (LeakguardError, OSError) as error:
        why = str(error).replace(f"{directory}/", "")
        text = f"No whole report was left, so nothing was measured: {markdown.code(why)}"
        return f"### ❌ leakguard: inconclusive\n\n{text}\n"


def _finished_run(environment: Mapping[str, str]) -> FinishedRun:
    """From the event file of a ``workflow_run``; raises ``UsageProblem`` for any other event."""
    path = environment.get("GITHUB_EVENT_PATH", "")
    try:
        event = json.loads(Path(path).read_text(encoding="utf-8"))["workflow_run"]
        return FinishedRun(
            conclusion=str(event["conclusion"]),
            commit=str(event["head_sha"]),
            branch=str(event["head_branch"]),
            owner=str(event["head_repository"]["owner"]["login"]),
            url=str(event["html_url"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageProblem(
            "GITHUB_EVENT_PATH names no workflow_run event: "
            "call this from a workflow that starts on workflow_run"
        ) from None


class _Api:
    """The few questions to GitHub's interface."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        needed = ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN")
        missing = [name for name in needed if not environment.get(name)]
        if missing:
            raise UsageProblem(
                f"{', '.join(missing)} not set: call this from a workflow, with GITHUB_TOKEN in env"
            )
        self._base = f"{environment['GITHUB_API_URL']}/repos/{environment['GITHUB_REPOSITORY']}"
        self._token = environment["GITHUB_TOKEN"]
        # A redirect would carry the token elsewhere.
        self._open = urllib.request.build_opener(_NoRedirect).open

    def open_pull_request(self, run: FinishedRun) -> int | None:
        """The open pull request whose head is the commit that ran.

        ``None`` where there is none: a newer push has a run of its own.
        """
        head = urllib.parse.quote(f"{run.owner}:{run.branch}", safe="")
        for pull in self._pages(f"pulls?state=open&head={head}"):
            if pull["head"]["sha"] == run.commit:
                return int(pull["number"])
        return None

    def own_comment(self, number: int) -> int | None:
        """Our earlier comment; one that a person has written with our marker in it is not ours."""
        for comment in self._pages(f"issues/{number}/comments?"):
            if comment["user"]["type"] == "Bot" and str(comment["body"]).startswith(MARKER):
                return int(comment["id"])
        return None

    def _pages(self, path: str) -> Iterator[Any]:
        for page in range(1, _MOST_PAGES + 1):
            found = self.ask("GET", f"{path}&per_page={_PER_PAGE}&page={page}")
            yield from found
            if len(found) < _PER_PAGE:
                return

    def ask(self, method: str, path: str, data: Mapping[str, str] | None = None) -> Any:
        """One request; raises ``LeakguardError`` with GitHub's own words."""
        request = urllib.request.Request(
            f"{self._base}/{path}",
            method=method,
            data=json.dumps(data).encode() if data is not None else None,
            headers={
                "Authorization": f"Bearer {self._token}",
                "Accept": "application/vnd.github+json",
                "Content-Type": "application/json",
            },
        )
        try:
            with self._open(request, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read(_LARGEST_ANSWER))
        except urllib.error.HTTPError as error:
            said = one_line(error.read(500).decode("utf-8", "replace"))
            raise LeakguardError(f"GitHub refused {method} {path}: {error.code} {said}") from None
        except (OSError, ValueError) as error:
            why = one_line(str(error))
            raise LeakguardError(f"GitHub did not answer {method} {path}: {why}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follows none."""
