"""Measure some of a folder's models on a device: the most telling first, and another for each that it cannot run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device_agent.device import Artifact, Device
from device_agent.journal import Journal, JournalError
from orchestrator.errors import ConfigError, DataError, DataPartial, Problem
from orchestrator.lut.ledger import REFERENCE
from orchestrator.lut.passes import ItemFailed, Progress
from orchestrator.predict.latency.measuring import WATCHED, measure_items
from orchestrator.predict.latency.model_prior import ModelView
from orchestrator.predict.latency.models import ModelFile
from orchestrator.predict.latency.references import telling_rows
from profiling.plan import MeasurementPlan
from profiling.records import Measurement

_SCOPE = "models"
_SHOWN = 12  # digits of a hash


@dataclass(frozen=True)
class MeasuredModels:
    """What came of it.

    Attributes:
        measurements: Row of a model -> its measurement.
        failed: Name of a model that the device cannot run -> why.
    """

    measurements: Mapping[int, Measurement]
    failed: Mapping[str, str]


def telling_order(view: ModelView, models: Sequence[ModelFile], *, random: bool = False, seed: int = 0) -> list[int]:
    """Rows of different files: those first that leave least in doubt of all others, or at random.

    Args:
        view: What is known, as it applies to the models.
        models: `B`.
        random: At random.
        seed: Of that.
    """
    first = {model.sha256: row for row, model in reversed(list(enumerate(models)))}
    rows = np.array(sorted(first.values()), dtype=np.int64)
    if random:
        return [int(row) for row in np.random.default_rng(seed).permutation(rows)]
    inputs = view.inputs[rows]
    return [int(rows[row]) for row in telling_rows(view.structures, view.prior, inputs, inputs, len(rows))]


def measure_models(
    opened: Callable[[], AbstractContextManager[Device]],
    models: Sequence[ModelFile],
    order: Sequence[int],
    samples: int,
    plan: MeasurementPlan,
    journal: Path,
    *,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
    refused: Callable[[str, str], None] = lambda name, why: None,
    stop: Callable[[], bool] = lambda: False,
) -> MeasuredModels | None:
    """Measure so many models and nothing else: one of them also shows whether the device drifts.

    Args:
        opened: Opens the device.
        models: All.
        order: Rows of different files, the most wanted first.
        samples: How many to measure. A model that the device cannot run is replaced by the next one.
        plan: How each is measured.
        journal: Where every block is kept; blocks that are there already count.
        seed: Of the order of blocks.
        progress: Told after each block.
        refused: Told of each model that the device cannot run, and why.
        stop: Asked before each block.

    Returns:
        None when it was stopped, and then the journal has all that was measured.

    Raises:
        ConfigError: There are fewer different models.
        DataPartial: The device is gone or failed, can run none of them, or gave no usable block of one.
        DataError: The journal is of another device, or a file has changed.
        DeviceError: The device cannot be asked what it is.
    """
    if samples > len(order):
        raise ConfigError("samples", [Problem("--samples", samples, f"at most {len(order)}: there are no more models")])
    chosen, spare = [_Item(row, models[row]) for row in order[:samples]], list(order[samples:])
    begun_with = _watched(journal)
    failed: dict[str, str] = {}
    while chosen:
        watched = next((each for each in chosen if each.model.sha256.startswith(begun_with or " ")), chosen[0])
        try:
            with opened() as device:
                found = measure_items(
                    device, chosen, _SCOPE, plan, journal, watched=watched, seed=seed, progress=progress, stop=stop
                )
        except ItemFailed as error:
            wrong = watched if error.item == REFERENCE else next(each for each in chosen if each.name == error.item)
            if error.failure.kind != "model":
                raise DataPartial(
                    f"{wrong.model.name}: {error.failure.detail}",
                    "with --out what was measured is kept, and the same command goes on; a file that always fails has "
                    "to leave the folder",
                ) from error
            why = error.failure.detail.partition("\n")[0].removeprefix(f"{wrong.model.name}: ")
            failed[wrong.model.name] = why
            refused(wrong.model.name, why)
            chosen.remove(wrong)
            if spare:
                chosen.append(_Item(row := spare.pop(0), models[row]))
            continue
        if found is None:
            return None
        return MeasuredModels({each.row: result for each, result in zip(chosen, found, strict=True)}, failed)
    raise DataPartial(
        f"the device can run none of the models: {'; '.join(f'{name}: {why}' for name, why in failed.items())}",
        "try another --delegate, or other models",
    )


@dataclass(frozen=True)
class _Item:
    """A model in the journal: by name and content, as a file may be replaced."""

    row: int
    model: ModelFile

    @property
    def name(self) -> str:
        return f"{self.model.name} {self.model.sha256[:_SHOWN]}"

    def artifact(self) -> Artifact:
        return self.model.artifact()


def _watched(journal: Path) -> str | None:
    """The beginning of the hash of what shows drifts, in a journal that was begun before."""
    if not journal.exists():
        return None
    try:
        with Journal(journal) as kept:
            jobs = list(kept.results())
    except JournalError as error:
        raise DataError(error.message, error.hint) from error
    return next((job.partition("|")[0].rpartition(f"{WATCHED} ")[2] for job in jobs), None)
