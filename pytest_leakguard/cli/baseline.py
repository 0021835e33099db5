"""``pytest-leakguard baseline``: accept, prune, check and merge the accepted leaks.

CI may only check.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
from pathlib import Path

from pytest_leakguard.baseline import edit, store
from pytest_leakguard.baseline.compare import AcceptedGrowth, AcceptedLeak
from pytest_leakguard.cli import suppressions
from pytest_leakguard.core import clock
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.fingerprint import is_nameless
from pytest_leakguard.core.options import BASELINE_NAME
from pytest_leakguard.core.settings import is_ci
from pytest_leakguard.core.text import counted, one_line
from pytest_leakguard.processes import supervisor
from pytest_leakguard.reporters import json_reader
from pytest_leakguard.verdict import CLEAN, USAGE


def add_commands(parser: argparse.ArgumentParser) -> None:
    """``accept``, ``prune``, ``check``, ``merge`` and ``install`` under ``parser``."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    accept = actions.add_parser("accept", help="accept the leaks of a report.json, or some of them")
    accept.add_argument("fingerprints", nargs="*", metavar="FINGERPRINT")
    accept.add_argument(
        "--report",
        "--from",
        default="leakguard-report",
        type=Path,
        help="directory or file of a report.json, such as a downloaded artefact",
    )
    accept.add_argument("--reason", required=True)
    accept.add_argument("--owner", default="")
    accept.add_argument("--expires", help="date such as 2027-03-31")
    accept.set_defaults(action=_accept)
    prune = actions.add_parser("prune", help="remove entries that a report.json says are fixed")
    prune.add_argument("--report", default="leakguard-report", type=Path)
    prune.set_defaults(action=_prune)
    check = actions.add_parser("check", help="whether the file is valid, sorted and not expired")
    check.set_defaults(action=_check)
    for action in (accept, prune, check):
        action.add_argument("--baseline", default=BASELINE_NAME, type=Path)
    suppressions.add_commands(actions)
    merge = actions.add_parser("merge", help="git merge driver: writes the merged file over OURS")
    for name in ("base", "ours", "theirs"):
        merge.add_argument(name, type=Path)
    merge.set_defaults(action=_merge)
    install = actions.add_parser("install", help="make git use the merge driver in this clone")
    install.add_argument("--baseline", default=BASELINE_NAME, type=Path)
    install.set_defaults(action=_install)


def report_path(given: Path) -> Path:
    """The report inside a directory, or the file itself."""
    return given / "report.json" if given.is_dir() else given


def _refuse_in_ci(action: str) -> None:
    if is_ci(os.environ):
        raise UsageProblem(
            f"baseline {action} writes the baseline, which CI must not do; run it on your machine"
        )


def _accept(arguments: argparse.Namespace) -> int:
    _refuse_in_ci("accept")
    if not arguments.reason.strip():
        raise UsageProblem("--reason: why may these leaks stay?")
    findings = json_reader.read_findings(report_path(arguments.report))
    wanted = set(arguments.fingerprints)
    if not wanted:
        wanted = {
            finding.fingerprint
            for finding in findings
            if finding.is_gating and not is_nameless(finding.fingerprint)
        }
    if nameless := sorted(filter(is_nameless, wanted)):
        raise UsageProblem(
            f"{', '.join(nameless)}: every leak without a stack has this name, so accepting it "
            "would hide all later ones; build with -g, or run with longer stacks"
        )
    unknown = wanted - {finding.fingerprint for finding in findings}
    if unknown:
        raise UsageProblem(f"not in the report: {', '.join(sorted(unknown))}")
    expires = _date(arguments.expires) if arguments.expires else None
    chosen = [finding for finding in findings if finding.fingerprint in wanted]
    store.accept_findings(arguments.baseline, chosen, arguments.reason, arguments.owner, expires)
    count = counted(len(chosen), "leak")
    print(f"accepted {count} into {arguments.baseline}; review and commit the file")
    return CLEAN


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise UsageProblem(f"--expires: {text!r} is no date such as 2027-03-31") from None


def _prune(arguments: argparse.Namespace) -> int:
    _refuse_in_ci("prune")
    fixed = tuple(json_reader.read(report_path(arguments.report))["baseline"]["fixed"])
    store.prune_entries(arguments.baseline, fixed)
    print(f"pruned {counted(len(fixed), 'fixed leak')} from {arguments.baseline}")
    return CLEAN


def _check(arguments: argparse.Namespace) -> int:
    if not arguments.baseline.is_file():
        raise UsageProblem(f"{arguments.baseline}: no such file")
    text = store.read_text(arguments.baseline)
    baseline = store.read_baseline(arguments.baseline)
    entries: list[tuple[str, AcceptedLeak | AcceptedGrowth]] = [
        *baseline.leaks.items(),
        *baseline.growth.items(),
    ]
    if edit.join(edit.split(text)) != text:
        raise UsageProblem(
            f"{arguments.baseline}: entries are not in order; "
            "`pytest-leakguard baseline merge` writes them so"
        )
    expired = 0
    for key, entry in entries:
        if entry.expires and entry.expires < clock.today():
            expired += 1
            owner = entry.owner or "nobody"
            print(one_line(f"expired on {entry.expires}: {key} (owner {owner}): {entry.reason}"))
    number = "1 entry" if len(entries) == 1 else f"{len(entries):,} entries"
    print(f"{arguments.baseline}: {number}, {expired} expired")
    return USAGE if expired else CLEAN


def _merge(arguments: argparse.Namespace) -> int:
    texts = [store.read_text(path) for path in (arguments.base, arguments.ours, arguments.theirs)]
    store.rewrite(arguments.ours, edit.merge(*texts))
    return CLEAN


def _install(arguments: argparse.Namespace) -> int:
    """Sets the driver in this clone's git configuration and names the file in .gitattributes."""
    driver = "pytest-leakguard baseline merge %O %A %B"
    code, _, errors = supervisor.capture(["git", "config", "merge.leakguard.driver", driver], 20.0)
    if code != 0:
        said = errors.decode("utf-8", "backslashreplace").strip()
        raise UsageProblem(f"git config failed: {said}")
    attributes = Path(".gitattributes")
    line = f"{arguments.baseline.name} merge=leakguard"
    text = store.read_text(attributes)
    if line not in text.splitlines():
        before = text.rstrip("\n") + "\n" if text else ""
        store.rewrite(attributes, f"{before}{line}\n")
    print(
        f"git merges {arguments.baseline.name} by entries now; "
        "commit .gitattributes and run this once in every clone"
    )
    return CLEAN
