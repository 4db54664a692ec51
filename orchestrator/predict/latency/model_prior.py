"""ModelPrior: what is known of devices that ran models, and files of it and of devices that were adapted to.

Beside prices it holds what known devices take of each file that they have run: see `known.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import CheckpointError, DataError
from orchestrator.generate.tensor_file import read_tensors, write_tensors
from orchestrator.predict.latency.adapt import adapt
from orchestrator.predict.latency.adapted import AdaptedLatency
from orchestrator.predict.latency.checkpoint import packed, unpacked
from orchestrator.predict.latency.known import with_known
from orchestrator.predict.latency.made_up_models import made_up_tables
from orchestrator.predict.latency.model_sources import Sources
from orchestrator.predict.latency.models import ModelFile, ModelStructures, amounts_of
from orchestrator.predict.latency.noise import fit_noise
from orchestrator.predict.latency.prices import errors_of, fit_prices
from orchestrator.predict.latency.prior import LatencyPrior, family_of
from orchestrator.predict.latency.quality import Prediction, leave_one_out, predict
from orchestrator.predict.latency.structures import Structures
from orchestrator.space.base import FloatArray, IntArray

PRIOR, ADAPTED = "devicenag-models-prior/2", "devicenag-adapted-models/2"
_COVERED = 0.5  # of the models: a device that has run fewer of them is known by its prices alone
_LEAST_TYPICAL = 1e-4  # of a typical model of the folder: no model costs nothing
_LEAST_UNIT_MS = 1e-6
_TRAIN = "train one: nag train latency --models DIR --latency RUN"


@dataclass(frozen=True)
class ModelPrior:
    """What is known before anything is measured on a new device.

    Attributes:
        prices: Of all sources, for `MODEL_AMOUNTS`.
        known_ms: Source -> sha256 of a file -> milliseconds.
    """

    prices: LatencyPrior
    known_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def without(self, devices: Collection[str]) -> ModelPrior:
        """Without some devices: neither their prices nor their latencies. Raises DataError when none is left."""
        kept = {name: values for name, values in self.known_ms.items() if name not in devices}
        return ModelPrior(self.prices.without(devices), kept)

    def view(self, amounts: Tensor, sha256: Sequence[str]) -> ModelView:
        """As it applies to `B` models.

        Args:
            amounts: (`B`, `K`).
            sha256: Of the files.
        """
        typical = np.maximum(amounts.numpy() @ self.prices.mean, _LEAST_TYPICAL)
        known = []
        for device, latency_ms in self.known_ms.items():
            unit_ms = self.prices.medians_ms[self.prices.devices.index(device)]
            column = np.array([latency_ms.get(each, np.nan) for each in sha256]) / unit_ms
            if np.isfinite(column).mean() >= _COVERED:
                known.append((device, column / typical))
        inputs = torch.cat([torch.from_numpy(typical)[:, None], amounts], dim=1)
        return ModelView(*with_known(self.prices, ModelStructures(), inputs, known), typical)

    def view_of(self, models: Sequence[ModelFile]) -> ModelView:
        """As it applies to these files."""
        return self.view(amounts_of(models), [model.sha256 for model in models])


@dataclass(frozen=True)
class ModelView:
    """A prior as it applies to `B` models.

    Attributes:
        prior: For the structures.
        structures: What it sees of a model.
        inputs: (`B`, ...) the models.
        typical: (`B`,) what is expected of each on any device, in a common unit.
    """

    prior: LatencyPrior
    structures: Structures
    inputs: Tensor
    typical: FloatArray

    def adapted(
        self, rows: IntArray, latency_ms: FloatArray, log_variances: FloatArray | None = None
    ) -> AdaptedLatency:
        """To a device that took (`N`,) milliseconds for the models at (`N`,) rows; of latencies relative to typical."""
        relative = latency_ms / self.typical[rows]
        return adapt(self.prior, self.structures, self.inputs[torch.from_numpy(rows)], relative, log_variances)

    def predict(self, adapted: AdaptedLatency, rows: IntArray) -> Prediction:
        """What is said of the models at (`B`,) rows."""
        return self._in_ms(predict(adapted, self.inputs[torch.from_numpy(rows)]), rows)

    def leave_one_out(self, rows: IntArray, latency_ms: FloatArray, log_variances: FloatArray) -> Prediction:
        """What is said of each of (`N`,) measurements by a predictor adapted to the other ones."""
        relative, inputs = latency_ms / self.typical[rows], self.inputs[torch.from_numpy(rows)]
        return self._in_ms(leave_one_out(self.prior, self.structures, inputs, relative, log_variances), rows)

    def _in_ms(self, said: Prediction, rows: IntArray) -> Prediction:
        typical = self.typical[rows]
        return Prediction(
            latency_ms=said.latency_ms * typical,
            mean=said.mean + np.log(typical),
            sd=said.sd,
            low_ms=said.low_ms * typical,
            high_ms=said.high_ms * typical,
        )


def fit_model_prior(
    models: Sequence[ModelFile],
    sources: Sources | None,
    *,
    synthetic: int,
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> ModelPrior:
    """Learn from devices, and from made-up ones where measured ones are few.

    Args:
        models: What made-up devices run.
        sources: Measured devices.
        synthetic: Made-up ones; together they have one device's say.
        seed: Of them.
        provenance: For the file.

    Raises:
        DataError: There is no device at all.
    """
    tables = dict(sources.tables) if sources is not None else {}
    if synthetic:
        tables |= made_up_tables(models, synthetic, seed)
    if not tables:
        raise DataError("no devices to learn from", "give --latency RUN, --table FILE or --synthetic N")
    relative = {device: amounts.numpy() / latency_ms[:, None] for device, (amounts, latency_ms) in tables.items()}
    # Prices in milliseconds: each model is compared with itself.
    fits = {device: fit_prices(rows, np.ones(len(rows))) for device, rows in relative.items()}
    # Devices ran different models: their prices are compared by what the folder's models would take.
    ours = amounts_of(models).numpy()
    units = {device: max(float(np.median(ours @ prices.values)), _LEAST_UNIT_MS) for device, prices in fits.items()}
    prices = LatencyPrior(
        devices=tuple(fits),
        families=tuple(family_of(device, fits) for device in fits),
        structures=(0,) * len(fits),
        prices=np.stack([found.values / units[device] for device, found in fits.items()]),
        spreads=np.array([found.spread for found in fits.values()]),
        noise=np.stack(
            [fit_noise(errors_of(fits[device], rows, np.ones(len(rows)))) for device, rows in relative.items()]
        ),
        medians_ms=np.array([units[device] for device in fits]),
        amounts_of=ModelStructures.amounts_of,
        provenance=dict(provenance or {}),
    )
    return ModelPrior(prices, sources.known_ms if sources is not None else {})


def save_model_prior(path: Path, prior: ModelPrior) -> None:
    """Write a prior. Raises CheckpointError."""
    tensors, header = _all_packed(prior)
    write_tensors(path, tensors, {"format": PRIOR, **header})


def load_model_prior(path: Path) -> ModelPrior:
    """Read a prior. Raises CheckpointError: missing, corrupt, none of models, or inconsistent."""
    return _all_unpacked(path, *_opened(path, PRIOR, "latency prior of models", _TRAIN), _TRAIN)


@dataclass(frozen=True)
class AdaptedModels:
    """What a device was adapted from; adapting again gives the same predictor.

    Attributes:
        prior: What was known of other devices.
        amounts: (`N`, `K`) of what was measured.
        sha256: (`N`,) of the files.
        latency_ms, log_variances: (`N`,); variances are NaN where unknown.
        device: What it is, as JSON values.
    """

    prior: ModelPrior
    amounts: Tensor
    sha256: tuple[str, ...]
    latency_ms: FloatArray
    log_variances: FloatArray
    device: Mapping[str, Any]

    def predict(self, models: Sequence[ModelFile]) -> tuple[AdaptedLatency, Prediction]:
        """The device's latency, and what it says of some models, measured ones or others."""
        amounts = torch.cat([self.amounts, amounts_of(models)])
        view = self.prior.view(amounts, [*self.sha256, *(model.sha256 for model in models)])
        count = len(self.sha256)
        adapted = view.adapted(np.arange(count), self.latency_ms, self.log_variances)
        return adapted, view.predict(adapted, np.arange(count, len(amounts)))


def save_adapted_models(path: Path, adapted: AdaptedModels) -> None:
    """Write what a device was adapted from. Raises CheckpointError."""
    tensors, header = _all_packed(adapted.prior)
    tensors |= {
        "measured.amounts": adapted.amounts,
        "measured.latency_ms": torch.from_numpy(adapted.latency_ms),
        "measured.log_variances": torch.from_numpy(adapted.log_variances),
    }
    write_tensors(
        path, tensors, {"format": ADAPTED, **header, "measured": adapted.sha256, "device": dict(adapted.device)}
    )


def load_adapted_models(path: Path) -> AdaptedModels:
    """Read what a device was adapted from. Raises CheckpointError."""
    redo = "make one: nag adapt --models DIR --device DEVICE --out FILE"
    tensors, header = _opened(path, ADAPTED, "adapted latency predictor of models", redo)
    prior = _all_unpacked(path, tensors, header, redo)
    try:
        amounts, latency_ms, variances = (
            tensors[f"measured.{name}"] for name in ("amounts", "latency_ms", "log_variances")
        )
        sizes = {len(amounts), len(latency_ms), len(variances), len(header["measured"])}
        if len(sizes) != 1 or amounts.shape[1:] != (len(prior.prices.amounts_of),):
            raise ValueError("its measurements do not fit each other")
        return AdaptedModels(
            prior, amounts, tuple(header["measured"]), latency_ms.numpy(), variances.numpy(), header["device"]
        )
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}", redo) from error


def _opened(path: Path, kind: str, noun: str, hint: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, header = read_tensors(path)
    if header.get("format") != kind:
        raise CheckpointError(f"{path} is not a {noun} (format {header.get('format')!r})", hint)
    return tensors, header


def _all_packed(prior: ModelPrior) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, header = packed(prior.prices)
    files = list(dict.fromkeys(sha for values in prior.known_ms.values() for sha in values))
    known = np.array([[values.get(sha, np.nan) for sha in files] for values in prior.known_ms.values()])
    tensors["known.latency_ms"] = torch.from_numpy(known.reshape(len(prior.known_ms), len(files)))
    return tensors, {**header, "known": list(prior.known_ms), "files": files}


def _all_unpacked(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any], hint: str) -> ModelPrior:
    prices = unpacked(path, ModelStructures(), tensors, header, hint)
    try:
        devices, files, known = header["known"], header["files"], tensors["known.latency_ms"].numpy()
        if known.shape != (len(devices), len(files)) or not set(devices) <= set(prices.devices):
            raise ValueError("known latencies do not fit the devices")
        if (known <= 0).any():
            raise ValueError("a known latency is not above 0")
        latencies = {
            device: {sha: float(ms) for sha, ms in zip(files, row, strict=True) if np.isfinite(ms)}
            for device, row in zip(devices, known, strict=True)
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}", hint) from error
    return replace(ModelPrior(prices), known_ms=latencies)
