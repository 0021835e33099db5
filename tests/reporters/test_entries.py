"""The summary of a run holds what a reader pastes into the baseline."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from pytest_leakguard.baseline.compare import loads
from pytest_leakguard.baseline.edit import HEADER
from pytest_leakguard.cli.main import main
from pytest_leakguard.core.errors import BaselineError
from tests.golden_files import golden


def test_the_entries_of_the_summary_accept_the_leaks_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = str(golden("valgrind", "all_kinds.xml"))
    assert main(["check", "--report", "out", report]) == 1
    summary = (tmp_path / "out" / "summary.md").read_text()
    (pasted,) = re.findall(r"To paste into .*?<pre>(.*?)</pre>", summary, re.DOTALL)
    assert "\n\n" not in pasted
    unread = HEADER + "\n" + html.unescape(pasted) + "\n"
    with pytest.raises(BaselineError, match="needs a reason"):
        loads(unread, "baseline")
    text = unread.replace('reason = ""', 'reason = "known"')
    assert loads(text, "baseline").leaks
    (tmp_path / "leakguard-baseline.toml").write_text(text)
    assert main(["check", report]) == 0


def test_an_entry_can_be_accepted_from_a_downloaded_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = str(golden("valgrind", "leaky.xml"))
    assert main(["check", "--report", "artefact", report]) == 1
    summary = (tmp_path / "artefact" / "summary.md").read_text()
    fingerprint = re.findall(r"baseline accept ([0-9a-f]{16}) --from", summary)[0]
    accept = ["baseline", "accept", fingerprint, "--from", "artefact", "--reason", "known"]
    assert main(accept) == 0
    assert fingerprint in loads((tmp_path / "leakguard-baseline.toml").read_text(), "it").leaks
