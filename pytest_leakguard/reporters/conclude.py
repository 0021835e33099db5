"""The end of a run, the same through every door: judge, write, accept, prune, annotate."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pytest_leakguard.baseline import store
from pytest_leakguard.baseline.compare import Baseline
from pytest_leakguard.core import clock
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.environment import environment as this_environment
from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.core.fingerprint import is_nameless
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.core.text import counted, one_line, size
from pytest_leakguard.reporters import github, terminal
from pytest_leakguard.reporters import write as reports
from pytest_leakguard.reporters.history import Earlier
from pytest_leakguard.reporters.leak_text import COLUMNS
from pytest_leakguard.reporters.provenance import provenance
from pytest_leakguard.reporters.terminal import PYTEST, Door
from pytest_leakguard.verdict import Policy, Run, Selection, Verdict, failing

_COLOURS = {"red": "\x1b[31m", "yellow": "\x1b[33m", "green": "\x1b[32m", "": ""}

_NOTHING_SELECTED = Selection()

Render = Callable[[Verdict, Run], str]
"""Makes the text of one report."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is asked to leave behind."""

    report: Path | None = None
    """Directory for every report."""
    files: tuple[tuple[Path, Render], ...] = ()
    """Single reports beside them, each in a file of its own."""
    baseline: Path | None = None
    """The file that ``accept`` and ``prune`` write."""
    accept: str | None = None
    """Why the leaks of this run may stay; ``None`` accepts nothing."""
    owner: str = ""
    prune: bool = False
    history: tuple[Earlier, ...] = ()
    """What earlier reports say, for the page; oldest first."""
    annotates_checks: bool = True
    """Annotations for leaks and checks; ``False`` where each shard has made its own already."""

    @classmethod
    def by(cls, settings: Settings) -> Wanted:
        """What the options of a run ask for."""
        return cls(
            report=settings.report,
            baseline=settings.baseline,
            accept=settings.accept,
            prune=settings.prune,
        )


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A run that is over: its verdict, and what a door still has to print."""

    run: Run
    verdict: Verdict
    """What could not be written is among its problems, so that its exit status is the final one."""
    messages: tuple[str, ...] = ()
    """What was written and what was not, one line each."""
    annotations: tuple[str, ...] = ()
    """Workflow commands of GitHub Actions; none anywhere else."""


def policy_of(settings: Settings) -> Policy:
    """What fails a run with these options besides a new leak."""
    return Policy(is_strict=settings.is_strict, is_accepting=settings.accept is not None)


def run_of(
    checks: Iterable[Check],
    baseline: Baseline,
    settings: Settings,
    problems: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    selection: Selection = _NOTHING_SELECTED,
) -> Run:
    """All that was measured here and today, ready to be judged."""
    repository = repository_of(settings.root)
    return Run(
        checks=tuple(checks),
        baseline=baseline,
        judged_on=clock.today(),
        policy=policy_of(settings),
        problems=problems,
        notes=notes,
        selection=selection,
        environment={**this_environment(), **provenance(settings.root, repository)},
        root=settings.root,
        repository=repository,
        baseline_file=relative_to(settings.baseline, repository),
    )


def conclude(run: Run, wanted: Wanted, environment: Mapping[str, str] = os.environ) -> Conclusion:
    """Judges the run, writes every report, accepts, prunes and annotates, in this order.

    What cannot be written becomes a problem of the verdict, which fails the run; everything else is
    written all the same. The exit status is that of the returned verdict.
    """
    verdict = run.judge()
    messages, failures = _attempted(_steps(wanted, verdict, run))
    verdict = verdict.with_unanswered(failures)
    # The summary comes last, since it is to say what could not be written.
    summary = Path(environment.get("GITHUB_STEP_SUMMARY", ""))
    add = partial(add_job_summary, verdict, run, environment)
    _, failures = _attempted([_Step(summary, add)])
    verdict = verdict.with_unanswered(failures)
    annotations = _annotations(wanted, verdict, run) if is_github(environment) else ()
    return Conclusion(run, verdict, messages, annotations)


@dataclass(frozen=True, slots=True)
class _Step:
    """One file or directory to write, and how."""

    path: Path
    write: Callable[[], str]
    """Returns what to say about it; nothing for the files of a directory that is named anyway."""


def _attempted(steps: Iterable[_Step]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What each step says, and what could not be written; a failing step stops no other one."""
    messages: list[str] = []
    failures: list[str] = []
    for step in steps:
        try:
            message = step.write()
        except LeakguardError as error:
            failures.append(f"could not write: {error}")
        except OSError as error:
            failures.append(f"could not write {step.path}: {error.strerror}")
        else:
            messages.append(message)
    return tuple(filter(None, messages)), tuple(failures)


def _steps(wanted: Wanted, verdict: Verdict, run: Run) -> Iterator[_Step]:
    """In order; what comes next may depend on what the step before has done."""
    if wanted.report is not None:
        yield _Step(wanted.report, partial(_make_directory, wanted.report))
        if wanted.report.is_dir():  # without it, one failure says it all
            for name, render in reports.renderers(wanted.history):
                path = wanted.report / name
                yield _Step(path, partial(_write, path, render, verdict, run))
    for path, render in wanted.files:
        yield _Step(path, partial(_write, path, render, verdict, run))
    baseline = wanted.baseline
    if baseline is not None and wanted.accept is not None:
        accept = partial(_accept, baseline, verdict, wanted.accept, wanted.owner)
        yield _Step(baseline, accept)
    if baseline is not None and wanted.prune:
        yield _Step(baseline, partial(_prune, baseline, verdict))


_OUT_OF_GIT = "# Made by pytest-leakguard: reports are results, and change with every run.\n*\n"


def _make_directory(directory: Path) -> str:
    """A directory of ours is kept out of git, as pytest keeps its cache; a user's own is not."""
    is_new = not directory.is_dir()
    directory.mkdir(parents=True, exist_ok=True)
    if is_new:
        store.write_text(directory / ".gitignore", _OUT_OF_GIT)
    return f"reports: {directory}"


def _write(path: Path, render: Render, verdict: Verdict, run: Run) -> str:
    store.write_text(path, render(verdict, run))
    return ""


def _accept(path: Path, verdict: Verdict, reason: str, owner: str) -> str:
    # An expired entry is accepted anew as well, which is what a strict policy fails on.
    findings = failing(verdict, Policy(is_strict=True))
    named = [finding for finding in findings if not is_nameless(finding.fingerprint)]
    store.accept_findings(path, named, reason, owner)
    if not named and findings:  # there may be no file to review
        leaks = counted(len(findings), "leak")
        return f"accepted nothing: {leaks} without a stack cannot be accepted"
    told = f"accepted {counted(len(named), 'leak')} into {path.name}; review and commit the file"
    if len(named) == len(findings):
        return told
    return f"{told}; {len(findings) - len(named)} without a stack cannot be accepted"


def _prune(path: Path, verdict: Verdict) -> str:
    store.prune_entries(path, verdict.prunable)
    return f"pruned {counted(len(verdict.prunable), 'fixed leak')} from {path.name}"


def _annotations(wanted: Wanted, verdict: Verdict, run: Run) -> tuple[str, ...]:
    if wanted.annotates_checks:
        return tuple(github.workflow_commands(verdict, run))
    return tuple(github.problem_commands(verdict))


def what_is_on(settings: Settings, baseline: Baseline) -> str:
    """``leakguard: all tests; baseline leakguard-baseline.toml (3 accepted)``; runs nothing."""
    tests = "all tests" if settings.scope == "all" else "tests with the leakguard marker"
    texts = [tests, _baseline_in_words(settings, baseline)]
    if settings.tool != "auto":
        texts.append(f"tool {settings.tool}")
    if settings.budget_bytes:
        texts.append(f"budget {size(settings.budget_bytes)} per run")
    if settings.native == "off":
        texts.append("native memory not tracked")
    if settings.is_strict:
        texts.append("strict")
    if settings.report is not None:
        texts.append(f"reports in {_from(settings.report, settings.root)}")
    return one_line(f"leakguard: {'; '.join(texts)}")


def _baseline_in_words(settings: Settings, baseline: Baseline) -> str:
    accepted = len(baseline.leaks) + len(baseline.growth)
    name = _from(settings.baseline, settings.root)
    known = f"baseline {name} ({accepted:,} accepted)" if settings.baseline.is_file() else ""
    if settings.accept is not None:
        return f"accepting into {name}"
    return known or "no baseline"


def _from(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def print_verdict(conclusion: Conclusion, verbosity: int, door: Door = PYTEST) -> None:
    """The verdict on standard output, in colour where pytest would use it."""
    run = conclusion.run
    in_colour = _is_in_colour(os.environ)
    columns = shutil.get_terminal_size((COLUMNS, 0)).columns
    lines = terminal.render(conclusion.verdict, run.policy, run.root, verbosity, door, columns)
    for line in (*lines, *map(terminal.Line, conclusion.messages)):
        colour = _COLOURS[line.colour] if in_colour else ""
        print(f"{colour}{line.text}\x1b[0m" if colour else line.text)


def _is_in_colour(environment: Mapping[str, str]) -> bool:
    """As pytest decides it without ``--color``."""
    asked = environment.get("PY_COLORS")
    if asked in ("0", "1"):
        return asked == "1"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and environment.get("TERM") != "dumb"


def door_of(door: Door, report: Path | None) -> Door:
    """The same words, with the place of the reports where they are written."""
    if report is None:
        return door
    return replace(door, all_leaks=f"{report / 'report.html'} (or report.json)")


def is_github(environment: Mapping[str, str]) -> bool:
    """Whether this process is a step of a GitHub Actions job."""
    return environment.get("GITHUB_ACTIONS") == "true"


def add_job_summary(verdict: Verdict, run: Run, environment: Mapping[str, str] = os.environ) -> str:
    """Appends ``summary.md`` to the job summary, within the size GitHub takes of a step.

    Raises ``OSError``.
    """
    name = environment.get("GITHUB_STEP_SUMMARY", "")
    if not is_github(environment) or not name:
        return ""
    from pytest_leakguard.reporters import markdown

    path = Path(name)
    taken_bytes = path.stat().st_size if path.exists() else 0
    room_bytes = markdown.MOST_BYTES - taken_bytes
    if room_bytes < markdown.LEAST_BYTES:
        return ""  # more would make GitHub drop what others wrote there too
    with path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
        stream.write(markdown.render(verdict, run, room_bytes))
    return ""


def repository_of(root: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The repository that ``root`` lies in; ``root`` itself where none is to be seen."""
    for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE"):
        given = environment.get(name)
        if given and root.resolve().is_relative_to(Path(given).resolve()):
            return Path(given).resolve()
    for folder in (root, *root.parents):
        if (folder / ".git").exists():
            return folder
    return root


def relative_to(path: Path, folder: Path) -> str:
    """``path`` from ``folder`` on, with slashes; empty when it is not an existing file inside."""
    if not path.is_file() or not path.resolve().is_relative_to(folder):
        return ""
    return path.resolve().relative_to(folder).as_posix()
