"""Names of a campaign's measurement jobs, as journals keep them."""

from __future__ import annotations

from profiling.store import Purpose

_CONTINUED = "/continued"


def job_name(candidate: int, device: str, purpose: Purpose, *, continued: bool = False) -> str:
    """What a job is called. One that goes on is another one: a journal knows the result of the first."""
    return f"{candidate}/{device}/{purpose}{_CONTINUED if continued else ''}"


def begun_as(job_id: str) -> str:
    """The name under which a job began, whether or not it went on."""
    return job_id.removesuffix(_CONTINUED)
