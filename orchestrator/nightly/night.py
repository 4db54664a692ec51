"""Night: what a nightly run consists of, kept in `RUN/nightly.json`, so that others can read it as a baseline.

RUN/nightly.json       this
RUN/models/            the models, as .tflite files
RUN/passes/N/          the N-th pass over the models: a collection
RUN/again/N/           the N-th pass over those that were suspect: a collection
RUN/campaigns/NAME/    a campaign
RUN/report.html, junit.xml, result.json, nightly.prom     made from these at the end
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import RunFolderError
from profiling.records import Record

NIGHT = "nightly.json"
PASSES, AGAIN = "passes/", "again/"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Night(Record):
    """A nightly run.

    Attributes:
        name: Of its configuration.
        started_at: Seconds since the epoch.
        models: File in `models/` -> the model's name.
        passes: Folders of the passes over the models, those over suspects included, in order.
        campaigns: Name -> folder.
    """

    name: str
    started_at: float
    models: dict[str, str] = field(default_factory=dict)
    passes: tuple[str, ...] = ()
    campaigns: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def full_passes(self) -> tuple[str, ...]:
        """Those over all models."""
        return tuple(part for part in self.passes if part.startswith(PASSES))

    def write(self, folder: Path) -> None:
        """Write it into a run folder; whole or not at all. Raises RunFolderError."""
        write_whole(folder / NIGHT, json.dumps(self.to_json(), indent=2) + "\n")


def read_night(folder: Path) -> Night:
    """The night in a run folder. Raises RunFolderError."""
    path = folder / NIGHT
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, Mapping) or values.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"schema_version is not {SCHEMA_VERSION}")
        return Night.from_json(values)
    except OSError as error:
        raise RunFolderError(f"{path}: {error.strerror}", "start a night with: nag nightly CONFIG --out RUN") from error
    except (TypeError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}", "restore it, or use another run") from error


def write_whole(path: Path, text: str) -> None:
    """Write a file that readers see whole or not at all. Raises RunFolderError."""
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RunFolderError(f"{path}: {error.strerror}", "free some space or make the folder writable") from error
