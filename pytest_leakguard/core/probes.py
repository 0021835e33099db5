"""Whether private things of somebody else's are where we look for them, and behave as we think."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probe:
    """One private thing that something of ours relies on."""

    name: str
    """As its owner spells it, such as ``Session._setupstate``."""
    look: Callable[[], str]
    """Returns what is wrong in a few words, and nothing when all is as we think; it may raise as
    well."""


def problems(probes: Iterable[Probe]) -> Iterator[str]:
    """One sentence that begins with the private name, for each that is not as we think."""
    for probe in probes:
        try:
            problem = probe.look()
        except Exception as error:  # whatever a change upstream makes of it
            problem = f"{type(error).__name__}: {error}"
        if problem:
            yield f"{probe.name}: {problem}"


def expect(is_as_we_think: object, otherwise: str) -> str:
    """``otherwise`` unless the first holds: the usual end of a probe."""
    return "" if is_as_we_think else otherwise
