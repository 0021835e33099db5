"""``pytest-leakguard completion``: the script that makes a shell complete our commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.options import OPTIONS
from pytest_leakguard.verdict import CLEAN

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
_FILES = ("FILE", "PATH", "BASE", "OURS", "THEIRS", "-- PROGRAM [ARGUMENT ...]")
"""What stands for a file or a directory in help."""
_DIRECTORIES = ("DIR",)


_CHOICES = {f"--{option.name}": option.choices for option in OPTIONS if option.choices}
"""Those that we refuse ourselves, in words of our own."""

Parser = type[argparse.ArgumentParser]


def add_arguments(
    parser: argparse.ArgumentParser, whole: Callable[[Parser], argparse.ArgumentParser]
) -> None:
    """The arguments of ``completion``; ``whole`` makes the parser that is to be completed."""
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(action=partial(_completion, whole))


def _completion(
    whole: Callable[[Parser], argparse.ArgumentParser], arguments: argparse.Namespace
) -> int:
    try:
        import shtab
    except ImportError:
        raise UsageProblem(
            "completion needs the package shtab: pip install 'pytest-leakguard[completion]'"
        ) from None

    class Completed(argparse.ArgumentParser):
        """Says of each argument what may stand there; parsers of commands are such ones too."""

        def add_argument(self, *names: Any, **about: Any) -> argparse.Action:
            if names and names[-1] in _CHOICES:
                about.setdefault("choices", _CHOICES[names[-1]])
            action = super().add_argument(*names, **about)
            if action.metavar in _FILES:
                vars(action)["complete"] = shtab.FILE  # shtab's own, and none of argparse's
            elif action.metavar in _DIRECTORIES:
                vars(action)["complete"] = shtab.DIRECTORY
            return action

    sys.stdout.write(shtab.complete(whole(Completed), arguments.shell))
    return CLEAN
