"""Checkpoints of conditional models: weights, reference architectures, the safety margin, what they were trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.generate.dinas.calibration import Calibration
from orchestrator.generate.dinas.network import Denoiser, NetworkConfig
from orchestrator.generate.pool import keys
from orchestrator.generate.tensor_file import read_model, shipped, write_tensors
from orchestrator.space.base import IntArray, Space

FORMAT = "devicenag-dinas/1"
_OFFSET = 2**31  # between fingerprints and the signed integers that a file keeps
_NETWORK, _REFERENCES, _TRAINED_ON = "network.", "references", "trained_on"


@dataclass(frozen=True)
class Checkpoint:
    """A trained conditional model.

    Attributes:
        network: With its weights loaded, in evaluation mode.
        references: (`R`, `S`) architectures that a device is known by.
        trained_on: (`N`,) sorted fingerprints of the population.
        calibration: The safety margin of budgets.
        labels: Where accuracy and latencies came from.
        provenance: How: command, seed, steps, seconds, versions.
    """

    network: Denoiser
    references: IntArray
    trained_on: IntArray
    calibration: Calibration
    labels: Mapping[str, Any]
    provenance: Mapping[str, Any]


def new_network(space: Space, config: NetworkConfig, seed: int = 0) -> Denoiser:
    """An untrained denoiser for a space; torch's global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Denoiser(tuple(len(choices) for choices in space.choices), space.encoding(), config)


def save_checkpoint(
    path: Path,
    space: Space,
    weights: Mapping[str, Tensor],
    config: NetworkConfig,
    references: IntArray,
    trained_on: IntArray,
    calibration: Calibration,
    labels: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write a checkpoint.

    Args:
        path: Where.
        space: The space.
        weights: Of the network.
        config: Its size.
        references: (`R`, `S`).
        trained_on: (`N`, `S`) the population; its fingerprints are kept.
        calibration: The safety margin of budgets.
        labels: Where accuracy and latencies came from.
        provenance: How.

    Raises:
        CheckpointError: The file cannot be written.
    """
    header = {
        "format": FORMAT,
        "space": space.name,
        "choices": space.choices,
        "network": asdict(config),
        "calibration": asdict(calibration),
        "labels": dict(labels),
        "provenance": dict(provenance),
    }
    tensors = {_NETWORK + name: value for name, value in weights.items()}
    tensors[_REFERENCES] = torch.from_numpy(references).to(torch.uint8)
    tensors[_TRAINED_ON] = torch.from_numpy(fingerprints(trained_on) - _OFFSET).int()
    write_tensors(path, tensors, header)


def load_checkpoint(path: Path, space: Space) -> Checkpoint:
    """Read a checkpoint of a space's conditional model.

    Raises:
        CheckpointError: Missing, corrupt, of another space, or its weights do not fit its own description.
    """
    retrain = f"train one: nag train dinas --space {space.name} --accuracy FILE:COLUMN --latency FILE:COLUMN"
    tensors, header = read_model(path, space, format=FORMAT, noun="conditional model (dinas)", retrain=retrain)
    try:
        references = tensors.pop(_REFERENCES).long().numpy()
        trained_on = tensors.pop(_TRAINED_ON).long().numpy() + _OFFSET
        network = new_network(space, NetworkConfig(**header["network"]))
        network.load_state_dict({name.removeprefix(_NETWORK): value for name, value in tensors.items()})
        if references.shape != (network.references, len(space.choices)) or not space.is_legal(references).all():
            raise ValueError(f"references of shape {references.shape}")
        return Checkpoint(
            network.eval().requires_grad_(False),
            references,
            trained_on,
            Calibration(header["calibration"]["margin"], tuple(header["calibration"]["kept"])),
            header["labels"],
            header["provenance"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: weights and description do not fit: {error}", retrain) from error


def shipped_checkpoint(space: Space) -> Path:
    """The checkpoint that ships with the package. Raises CheckpointError where a space has none."""
    return shipped(
        f"dinas_{space.name}",
        missing=f"no conditional model for {space.name} ships with the package",
        train=f"train one with `nag train dinas --space {space.name} ... --out FILE`, then set `checkpoint: FILE`",
    )


def fingerprints(slots: IntArray) -> IntArray:
    """(`N`,) sorted 32-bit hashes of (`N`, `S`) architectures: nearly always enough to tell whether one is there."""
    hashes = [hashlib.blake2b(key, digest_size=4).digest() for key in keys(slots)]
    return np.sort(np.frombuffer(b"".join(hashes), dtype="<u4").astype(np.int64))


def known(slots: IntArray, trained_on: IntArray) -> float:
    """Share of (`B`, `S`) architectures that are among those whose fingerprints are given."""
    hashes = fingerprints(slots)
    places = np.minimum(np.searchsorted(trained_on, hashes), len(trained_on) - 1)
    return float((trained_on[places] == hashes).mean())
