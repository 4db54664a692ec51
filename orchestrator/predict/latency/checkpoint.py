"""Files of priors, and of devices that were adapted to: safetensors with a JSON header that says what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.generate.pool import width
from orchestrator.generate.tensor_file import read_model, read_tensors, write_tensors
from orchestrator.predict.latency.adapt import adapt
from orchestrator.predict.latency.adapted import AdaptedLatency
from orchestrator.predict.latency.noise import COMPONENTS
from orchestrator.predict.latency.prior import LatencyPrior
from orchestrator.predict.latency.structures import Structures, relaxed, structures_of
from orchestrator.predict.surrogates import Measured
from orchestrator.space.base import Space

PRIOR, ADAPTED = "devicenag-latency-prior/2", "devicenag-adapted-latency/2"


@dataclass(frozen=True)
class AdaptedFile:
    """What a device was adapted from; adapting again gives the same predictor.

    Attributes:
        prior: What was known of other devices.
        measured: What was measured on this one.
        device: What it is, as JSON values.
    """

    prior: LatencyPrior
    measured: Measured
    device: Mapping[str, Any]

    def predictor(self, space: Space) -> AdaptedLatency:
        """The device's latency."""
        slots = relaxed(self.measured.slots, width(space))
        return adapt(self.prior, structures_of(space), slots, self.measured.values, self.measured.variances)


def save_prior(path: Path, space: Space, prior: LatencyPrior) -> None:
    """Write a prior. Raises CheckpointError."""
    tensors, header = packed(prior)
    write_tensors(path, tensors, {"format": PRIOR, **_of(space), **header})


def load_prior(path: Path, space: Space) -> LatencyPrior:
    """Read a prior of a space. Raises CheckpointError: missing, corrupt, of another space, or inconsistent."""
    retrain = f"train one: nag train latency --space {space.name} --table FILE --devices A,B,..."
    tensors, header = read_model(path, space, format=PRIOR, noun="latency prior", retrain=retrain)
    return unpacked(path, structures_of(space), tensors, header, retrain)


def has_shipped_prior(space: Space) -> bool:
    """Whether a prior for this very space comes with the package; one with a searched resolution is another."""
    path = _shipped(space)
    return path.is_file() and read_tensors(path)[1].get("choices") == [list(choices) for choices in space.choices]


def shipped_prior(space: Space) -> LatencyPrior:
    """The prior that comes with the package. Raises CheckpointError where a space has none."""
    path = _shipped(space)
    if not path.is_file():
        raise CheckpointError(
            f"no latency prior for {space.name} ships with the package",
            f"train one with `nag train latency --space {space.name} ...`, then give it with --prior FILE",
        )
    return load_prior(path, space)


def _shipped(space: Space) -> Path:
    return Path(str(resources.files("orchestrator.predict.checkpoints"))) / f"latency_{space.name}.safetensors"


def save_adapted(path: Path, space: Space, file: AdaptedFile) -> None:
    """Write what a device was adapted from. Raises CheckpointError."""
    tensors, header = packed(file.prior)
    tensors |= {
        "measured.slots": torch.from_numpy(file.measured.slots),
        "measured.latency_ms": torch.from_numpy(file.measured.values),
        "measured.log_variances": torch.from_numpy(file.measured.variances),
    }
    write_tensors(path, tensors, {"format": ADAPTED, **_of(space), **header, "device": dict(file.device)})


def load_adapted(path: Path, space: Space) -> AdaptedFile:
    """Read what a device was adapted from. Raises CheckpointError."""
    redo = f"make one: nag adapt --space {space.name} --device DEVICE --out FILE"
    tensors, header = read_model(path, space, format=ADAPTED, noun="adapted latency predictor", retrain=redo)
    prior = unpacked(path, structures_of(space), tensors, header, redo)
    try:
        slots, values, variances = (tensors[f"measured.{name}"] for name in ("slots", "latency_ms", "log_variances"))
        if slots.shape != (len(values), len(space.choices)) or variances.shape != values.shape:
            raise ValueError("its measurements do not fit each other")
        measured = Measured(slots.numpy(), values.numpy(), variances.numpy())
        return AdaptedFile(prior, measured, header["device"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}", redo) from error


def _of(space: Space) -> dict[str, Any]:
    return {"space": space.name, "choices": space.choices}


def packed(prior: LatencyPrior) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and entries of the header that a prior is in a file."""
    tensors = {
        "prices": torch.from_numpy(prior.prices),
        "spreads": torch.from_numpy(prior.spreads),
        "noise": torch.from_numpy(prior.noise),
        "medians_ms": torch.from_numpy(prior.medians_ms),
        "structures": torch.tensor(prior.structures),
    }
    header = {
        "devices": prior.devices,
        "families": prior.families,
        "amounts": prior.amounts_of,
        "provenance": dict(prior.provenance),
    }
    return tensors, header


def unpacked(
    path: Path, structures: Structures, tensors: Mapping[str, Tensor], header: Mapping[str, Any], hint: str
) -> LatencyPrior:
    """The prior of a file, for these structures. Raises CheckpointError with this hint: it is none, or for others."""
    try:
        prior = LatencyPrior(
            devices=tuple(header["devices"]),
            families=tuple(header["families"]),
            structures=tuple(tensors["structures"].tolist()),
            prices=np.asarray(tensors["prices"].numpy()),
            spreads=np.asarray(tensors["spreads"].numpy()),
            noise=np.asarray(tensors["noise"].numpy()),
            medians_ms=np.asarray(tensors["medians_ms"].numpy()),
            amounts_of=tuple(header["amounts"]),
            provenance=header["provenance"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: prices and description do not fit: {error}", hint) from error
    count = len(prior.devices)
    sizes = {len(prior.families), len(prior.structures), len(prior.spreads), len(prior.medians_ms)}
    shapes = (prior.prices.shape, prior.noise.shape)
    if not count or sizes != {count} or shapes != ((count, len(structures.amounts_of)), (count, 3, COMPONENTS)):
        raise CheckpointError(f"{path}: prices and description do not fit", hint)
    if prior.amounts_of != structures.amounts_of or not set(prior.structures) <= set(range(len(structures.names))):
        raise CheckpointError(f"{path}: its prices are of other amounts than there are now", hint)
    if not (np.isfinite(prior.prices).all() and (prior.prices >= 0).all() and (prior.medians_ms > 0).all()):
        raise CheckpointError(f"{path} is corrupt: prices that are none", hint)
    if not (np.isfinite(prior.noise).all() and (prior.noise[:, 0] >= 0).all() and (prior.noise[:, 2] > 0).all()):
        raise CheckpointError(f"{path} is corrupt: noise that is none", hint)
    return prior
