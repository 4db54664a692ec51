"""Accounts: what a generator said of its own work, kept for whoever asks later."""

from __future__ import annotations

from typing import Any

from orchestrator.generate.base import Generator, Proposal, Request
from orchestrator.space.base import Space


def account_of(proposal: Proposal) -> dict[str, Any]:
    """A proposal's statistics as JSON values, without those that its generator does not know."""
    known = {
        "validity_unprojected": proposal.validity_unprojected,
        "uniqueness": proposal.uniqueness,
        "novelty": proposal.novelty,
        "utility_calls": proposal.utility_calls,
        "seconds": round(proposal.seconds, 4),
    }
    return {name: value for name, value in known.items() if value is not None}


class Accountant:
    """A generator that remembers what it last proposed for as long as nobody has asked.

    Who runs rounds need not know who asks the generator in them, nor whether anybody does.
    """

    def __init__(self, generator: Generator) -> None:
        """Args:
        generator: Does the work.
        """
        self._generator = generator
        self._last: Proposal | None = None

    @property
    def name(self) -> str:
        """As of the generator."""
        return self._generator.name

    @property
    def space(self) -> Space:
        """As of the generator."""
        return self._generator.space

    @property
    def parts(self) -> tuple[Generator, ...]:
        """The generator."""
        return (self._generator,)

    def propose(self, request: Request) -> Proposal:
        """What the generator proposes."""
        self._last = self._generator.propose(request)
        return self._last

    def take(self) -> dict[str, Any]:
        """The account of the last proposal since this was asked before; empty if there was none."""
        last, self._last = self._last, None
        return account_of(last) if last is not None else {}
