"""Sources of a models' prior: what collections, data sets and tables say that files and networks take on devices."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orchestrator.campaign.config import SpaceConfig
from orchestrator.dataset.export import run_rows
from orchestrator.errors import ConfigError, DataError, IllegalArchitecture, Problem
from orchestrator.predict.latency.models import ModelFile, model_amounts
from orchestrator.predict.latency.tables import device_columns
from orchestrator.space.base import FloatArray
from profiling.dataset.errors import DatasetError
from profiling.dataset.files import Dataset
from profiling.dataset.manifest import is_dataset
from profiling.dataset.row import DatasetRow
from profiling.network_layers import network_layers
from profiling.table import TableError, read_table

_AS_BUILT = ("float32", "float16")  # what a network of a space is described as without compiling it
_FEWEST = 3  # models that a device must have run


@dataclass(frozen=True)
class Sources:
    """What is known of devices.

    Attributes:
        tables: Device -> (`N`, `K`) amounts of what it ran, and (`N`,) milliseconds.
        known_ms: Device -> sha256 of a file -> milliseconds.
        unmatched: Why measurements say nothing -> how many.
    """

    tables: Mapping[str, tuple[Tensor, FloatArray]]
    known_ms: Mapping[str, Mapping[str, float]]
    unmatched: Mapping[str, int]


@dataclass(frozen=True)
class _Seen:
    """One thing that a device ran: a file by its sha256, or a network by a text that says what it is."""

    key: str
    amounts: FloatArray
    latency_ms: float
    is_file: bool


def gather_model_sources(
    models: Sequence[ModelFile],
    folders: Sequence[Path],
    table: Path | None = None,
    devices: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Sources:
    """Everything that is measured on any device.

    Args:
        models: Files are told by their content: those of other folders say nothing.
        folders: Runs of `nag collect`, or data sets. A device that was measured in several settings is several.
        table: One row a file (its name in the folder), one column a device.
        devices: Of all these; None: all.
        progress: Told what is being read.

    Raises:
        ConfigError: A device is asked for that is not there.
        DataError: Something cannot be read, or a device has run too few of the models.
    """
    unmatched: dict[str, int] = defaultdict(int)
    found: dict[tuple[str, str], list[_Seen]] = defaultdict(list)
    reader = _Rows(models, unmatched)
    for folder in folders:
        progress(f"reading {folder}")
        for target, seen in reader.read(folder):
            found[target].append(seen)
    if table is not None:
        progress(f"reading {table}")
        for device, seen in _of_table(models, table, None if devices is None or folders else devices, unmatched):
            found[device, ""].append(seen)
    named = _settings_named(found)
    if devices is not None:
        if missing := [name for name in devices if name not in named]:
            allowed = f"some of {', '.join(named) or 'none'}"
            raise ConfigError("devices", [Problem("--devices", ", ".join(missing), allowed)])
        named = {name: named[name] for name in devices}
    tables, known = {}, {}
    for device, ran in named.items():
        amounts, latency_ms, files = _averaged(ran)
        if len(latency_ms) < _FEWEST or latency_ms.max() <= latency_ms.min():
            raise DataError(
                f"{device}: {len(latency_ms)} different models with a latency, which teach nothing",
                "leave it out with --devices, or measure more models on it: nag collect",
            )
        tables[device] = torch.from_numpy(amounts), latency_ms
        known[device] = files
    return Sources(tables, known, dict(unmatched))


class _Rows:
    """Reads rows of runs and sets; what is no file of ours and no network that can be described is counted."""

    def __init__(self, models: Sequence[ModelFile], unmatched: dict[str, int]) -> None:
        self._amounts = {model.sha256: model_amounts(model.layers) for model in models}
        self._unmatched = unmatched
        self._networks: dict[str, FloatArray | None] = {}

    def read(self, folder: Path) -> Iterator[tuple[tuple[str, str], _Seen]]:
        """((device, setting), what it ran). Raises DataError, RunFolderError."""
        with _rows(folder) as rows:
            for row in rows:
                if row.latency_ms is None:
                    continue
                seen = self._seen(row)
                if seen is not None:
                    yield (row.device, f"{row.delegate}/{row.threads_count}"), seen

    def _seen(self, row: DatasetRow) -> _Seen | None:
        assert row.latency_ms is not None
        if row.artifact_sha256 in self._amounts:
            return _Seen(row.artifact_sha256, self._amounts[row.artifact_sha256], row.latency_ms, True)
        if not row.space:
            self._unmatched["files that are not in the folder"] += 1
        elif row.precision not in _AS_BUILT:
            self._unmatched[f"networks of spaces in {row.precision}"] += 1
        else:
            key = json.dumps([
                row.space, row.architecture, row.input_shape, row.classes_count, row.network_options_json
            ])  # fmt: skip
            if key not in self._networks:
                self._networks[key] = _network_amounts(row)
            if (amounts := self._networks[key]) is not None:
                return _Seen(key, amounts, row.latency_ms, False)
            self._unmatched["networks that this version does not build"] += 1
        return None


@contextmanager
def _rows(folder: Path) -> Iterator[Iterator[DatasetRow]]:
    if not is_dataset(folder):
        with run_rows(folder) as rows:
            yield iter(rows)
        return
    try:
        yield Dataset.open(folder).rows()
    except DatasetError as error:
        raise DataError(error.message, error.hint) from error


def _network_amounts(row: DatasetRow) -> FloatArray | None:
    """Of an architecture of a space, built as the row says; None where that is not possible now."""
    options = json.loads(row.network_options_json)
    classes = {} if row.classes_count is None else {"classes": row.classes_count}
    try:
        config = SpaceConfig(kind=row.space, input=tuple(row.input_shape), **classes, **options)
        space = config.make()
        network = space.network(space.parse(row.architecture), config.network_options())
    except (ConfigError, IllegalArchitecture, ValueError):
        return None
    return model_amounts(network_layers(network))


def _of_table(
    models: Sequence[ModelFile], path: Path, devices: Sequence[str] | None, unmatched: dict[str, int]
) -> Iterator[tuple[str, _Seen]]:
    """Rows by the names of files."""
    by_name = {model.name: model for model in models}
    for device in devices if devices is not None else device_columns(path):
        for name, latency_ms in table_column(path, device).items():
            if name in by_name:
                model = by_name[name]
                yield device, _Seen(model.sha256, model_amounts(model.layers), latency_ms, True)
            else:
                unmatched["files that are not in the folder"] += 1


def table_column(path: Path, device: str) -> Mapping[str, float]:
    """Name of a file -> milliseconds. Raises DataError, naming row and column."""
    try:
        return read_table(path).column(device, above=0.0)
    except TableError as error:
        raise DataError(error.message, error.hint) from error


def _settings_named(found: Mapping[tuple[str, str], list[_Seen]]) -> dict[str, list[_Seen]]:
    """A device that was measured in one setting goes by its name alone."""
    devices = [device for device, _ in found]
    return {
        device if devices.count(device) == 1 else f"{device}/{setting}".rstrip("/"): seen
        for (device, setting), seen in found.items()
    }


def _averaged(seen: Sequence[_Seen]) -> tuple[FloatArray, FloatArray, dict[str, float]]:
    """Amounts, geometric means of what was measured several times, and those of files by their sha256."""
    logs: dict[str, list[float]] = defaultdict(list)
    for each in seen:
        logs[each.key].append(float(np.log(each.latency_ms)))
    one = {each.key: each for each in seen}
    means = {key: float(np.exp(np.mean(values))) for key, values in logs.items()}
    amounts = np.stack([one[key].amounts for key in means])
    return amounts, np.array(list(means.values())), {key: ms for key, ms in means.items() if one[key].is_file}
