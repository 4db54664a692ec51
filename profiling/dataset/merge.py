"""Several labs' sets as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from profiling.dataset.errors import DatasetError
from profiling.dataset.files import Dataset, writing
from profiling.dataset.manifest import Manifest, Source
from profiling.dataset.row import DatasetRow
from profiling.records import Record


@dataclass(frozen=True)
class Merged(Record):
    """What a merge did.

    Attributes:
        rows: Of the new set.
        repeated: Rows left out because the very same measurement was there already, under whatever source.
        superseded: Rows left out because an earlier set in the list has another result for the same thing of the same
            source, as two exports of one run have.
    """

    rows: int
    repeated: int
    superseded: int


def merge(out: Path, folders: Sequence[Path], *, name: str = "", license: str = "") -> tuple[Manifest, Merged]:
    """Write the rows of several sets as one; each keeps its `source_id`, and its source stays in the manifest.

    Where two sets have different results for the same thing of the same source, that of the set named first stays: name
    the newest export of a run first.

    Args:
        out: New or empty.
        folders: The sets, at least one.
        name: Of the new set; their names by default.
        license: As the hub spells it; by default that of all sets.

    Raises:
        DatasetError: One of them is no set, is damaged or of another version; their licences differ and none is given;
            `out` is not empty or cannot be written.
    """
    sets = [Dataset.open(folder) for folder in folders]
    merger = _Merger(sets)
    chosen_name = name or " + ".join(dict.fromkeys(each.manifest.name for each in sets))
    with writing(out, name=chosen_name, license=license or _common_license(sets)) as writer:
        for source in merger.sources():
            writer.add_source(source)
        for row in merger.rows():
            writer.add(row)
    return writer.manifest, Merged(writer.manifest.rows, merger.repeated, merger.superseded)


class _Merger:
    """Goes through the sets once, and remembers 16 bytes of what a row is about and says."""

    def __init__(self, sets: Sequence[Dataset]) -> None:
        self.repeated = 0
        self.superseded = 0
        self._sets = sets

    def sources(self) -> Iterator[Source]:
        """Each once; of two exports of one run, the one that lacks less, for its rows are there too."""
        known: dict[str, Source] = {}
        for each in self._sets:
            for source in each.manifest.sources:
                before = known.get(source.id)
                missing = source.missing_count if before is None else min(source.missing_count, before.missing_count)
                known[source.id] = replace(before or source, missing_count=missing)
        return iter(known.values())

    def rows(self) -> Iterator[DatasetRow]:
        """The rows that stay."""
        contents: set[bytes] = set()
        keys: set[bytes] = set()
        for each in self._sets:
            own: set[bytes] = set()  # duplicates inside one set are its own fault, and for `validate` to show
            for row in each.rows():
                content, key = row.content, row.key
                if content in contents:
                    self.repeated += 1
                elif key in keys:
                    self.superseded += 1
                else:
                    contents.add(content)
                    own.add(key)
                    yield row
            keys |= own


def _common_license(sets: Sequence[Dataset]) -> str:
    licenses = {each.manifest.license for each in sets}
    if len(licenses) == 1:
        return licenses.pop()
    shown = ", ".join(f"{each.folder}: {each.manifest.license}" for each in sets)
    raise DatasetError(f"the sets have different licences ({shown})", "say under which the merged set is: --license")
