"""Export of a run, campaign or collection, as a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.campaign.folder import STORE as CAMPAIGN_STORE
from orchestrator.collect.store import STORE as COLLECT_STORE
from orchestrator.collect.store import CollectStore
from orchestrator.dataset.campaign import CampaignRows
from orchestrator.dataset.collection import CollectionRows
from orchestrator.errors import DataError, ExportError, RunFolderError
from profiling.dataset.errors import DatasetError
from profiling.dataset.files import writing
from profiling.dataset.manifest import Manifest
from profiling.store import CampaignStore

_TOLD = 100  # rows between two calls of progress


def export_dataset(
    run: Path,
    out: Path,
    *,
    name: str = "",
    license: str = "unknown",
    progress: Callable[[int], None] = lambda rows: None,
) -> Manifest:
    """Write every latency of a run, and every failure to get one, as a data set.

    Args:
        run: The folder of a campaign or of a collection; something may be working in it.
        out: New, empty, or an earlier set of this run, which is replaced.
        name: Of the set; the run's by default.
        license: As the hub spells it, e.g. `cc-by-4.0`.
        progress: Told the number of rows so far, now and then.

    Returns:
        What was written.

    Raises:
        RunFolderError: The folder holds neither, or its store cannot be read.
        ExportError: There is no result yet.
        DataError: `out` holds something else, or cannot be written.
        StoreError: The store is damaged.
    """
    with run_rows(run) as rows:
        source = rows.source
        try:
            with writing(out, name=name or source.name, license=license, replaces=source.id) as writer:
                writer.add_source(source)
                for number, row in enumerate(rows, start=1):
                    writer.add(row)
                    if number % _TOLD == 0:
                        progress(number)
                if not writer.quality.devices:
                    raise ExportError(f"{run} has no result yet", "let it go on first")
        except DatasetError as error:
            raise DataError(error.message, error.hint) from error
    return writer.manifest


@contextmanager
def run_rows(run: Path) -> Iterator[CampaignRows | CollectionRows]:
    """Every latency of a run, and every failure to get one. Raises RunFolderError: the folder holds no run."""
    if (run / CAMPAIGN_STORE).is_file():
        with CampaignStore.read(run / CAMPAIGN_STORE) as campaign:
            yield CampaignRows(campaign, run)
    elif (run / COLLECT_STORE).is_file():
        with CollectStore.read(run / COLLECT_STORE) as collection:
            yield CollectionRows(collection)
    else:
        raise RunFolderError(
            f"{run} holds neither a campaign nor a collection: no {CAMPAIGN_STORE}, no {COLLECT_STORE}",
            "give a folder that `nag run` or `nag collect` made",
        )
