"""Checkpoints: a score network's weights as safetensors, with all that is needed to use them in the header.

The header's `devicenag` entry is JSON: the space's choices, the network's size, the noise levels, what it was trained
on and how. Files are written beside their place and moved there, so that a reader never sees half of one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.generate.diffusion_nag.score_network import NetworkConfig, ScoreNetwork
from orchestrator.generate.diffusion_nag.sde import VESDE
from orchestrator.generate.diffusion_nag.training_set import TrainingSet
from orchestrator.space.base import Space

FORMAT = "devicenag-score-network/1"
_ENTRY = "devicenag"


@dataclass(frozen=True)
class Checkpoint:
    """A trained score network.

    Attributes:
        network: With its weights loaded, in evaluation mode.
        sde: Noise levels that it was trained on.
        training_set: What it was trained on.
        provenance: How: command, seed, steps, seconds, versions.
    """

    network: ScoreNetwork
    sde: VESDE
    training_set: TrainingSet
    provenance: Mapping[str, Any]


def new_network(space: Space, config: NetworkConfig, seed: int = 0) -> ScoreNetwork:
    """An untrained score network for a space; torch's global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ScoreNetwork(tuple(len(choices) for choices in space.choices), space.attention_mask, config)


def save_checkpoint(
    path: Path,
    space: Space,
    weights: Mapping[str, Tensor],
    config: NetworkConfig,
    sde: VESDE,
    training_set: TrainingSet,
    provenance: Mapping[str, Any],
) -> None:
    """Write a checkpoint. Raises CheckpointError when the file cannot be written."""
    header = {
        "format": FORMAT,
        "space": space.name,
        "choices": space.choices,
        "network": asdict(config),
        "sde": asdict(sde),
        "training_set": asdict(training_set),
        "provenance": dict(provenance),
    }
    write_tensors(path, weights, header)


def load_checkpoint(path: Path, space: Space) -> Checkpoint:
    """Read a checkpoint of a space's score network.

    Raises:
        CheckpointError: Missing, corrupt, of another space, or its weights do not fit its own description.
    """
    weights, header = read_tensors(path)
    retrain = f"train one: nag train score --space {space.name}"
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a score network (format {header.get('format')!r})", retrain)
    if header.get("space") != space.name:
        raise CheckpointError(f"{path} was trained for {header.get('space')!r}, not for {space.name!r}", retrain)
    if header.get("choices") != [list(choices) for choices in space.choices]:
        raise CheckpointError(f"{path} was trained when {space.name} had other choices", retrain)
    try:
        network = new_network(space, NetworkConfig(**header["network"]))
        network.load_state_dict(weights)
        return Checkpoint(
            network.eval().requires_grad_(False),
            VESDE(**header["sde"]),
            TrainingSet(**header["training_set"]),
            header["provenance"],
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: weights and description do not fit: {error}", retrain) from error


def shipped_checkpoint(space: Space) -> Path:
    """The checkpoint that ships with the package. Raises CheckpointError where a space has none."""
    path = Path(str(resources.files("orchestrator.generate.checkpoints"))) / f"{space.name}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"no score network for {space.name} ships with the package",
            f"train one with `nag train score --space {space.name} --out FILE`, then set `checkpoint: FILE`",
        )
    return path


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header as one safetensors file, in one move. Raises CheckpointError."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(contiguous, {_ENTRY: json.dumps(header, sort_keys=True)})
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # where the folder cannot be used, neither can this
            part.unlink()
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}", "check the disk and the path"
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON header of a safetensors file. Raises CheckpointError when missing or corrupt."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}", "check the path")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_ENTRY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is corrupt or no checkpoint: {error}", "fetch or train it again") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is corrupt: its header is no JSON object", "fetch or train it again")
    return tensors, header
