"""Checkpoints: a score network's weights as safetensors, with all that is needed to use them in the header.

The header (`tensor_file`) holds the space's choices, the network's size, the noise levels, what it was trained on and
how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.generate.diffusion_nag.score_network import NetworkConfig, ScoreNetwork
from orchestrator.generate.diffusion_nag.sde import VESDE
from orchestrator.generate.diffusion_nag.training_set import TrainingSet, nothing
from orchestrator.generate.tensor_file import read_model, shipped, write_tensors
from orchestrator.space.base import Space

FORMAT = "devicenag-score-network/1"


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
    retrain = f"train one: nag train score --space {space.name}; or set `checkpoint: untrained`"
    weights, header = read_model(path, space, format=FORMAT, noun="score network", retrain=retrain)
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


Prior = Literal["quality", "untrained"]  # beside the uniform one, which needs no name


def make_checkpoint(space: Space, which: Path | Prior | None) -> Checkpoint:
    """The score network of a file, a shipped one (None for the uniform prior), or the untrained one.

    Raises:
        CheckpointError: It is missing, corrupt, or of another space.
    """
    if isinstance(which, Path):
        return load_checkpoint(which, space)
    return untrained(space) if which == "untrained" else load_checkpoint(shipped_checkpoint(space, which), space)


def untrained(space: Space) -> Checkpoint:
    """The exact denoiser of independent uniform slots, which every untrained score network is; the smallest of them.

    Where every vector of choices is legal nothing is missing but taste; elsewhere projection makes samples legal.
    """
    config = NetworkConfig(channels=2, layers=0, heads=1)
    network = new_network(space, config).eval().requires_grad_(False)
    return Checkpoint(network, VESDE(), nothing(space), {"command": "none: untrained"})


def shipped_checkpoint(space: Space, variant: str | None = None) -> Path:
    """The checkpoint that ships with the package, of the uniform prior or a variant (`quality`).

    Raises:
        CheckpointError: There is none.
    """
    kind = f" with a prior by {variant}" if variant else ""
    return shipped(
        f"{space.name}-{variant}" if variant else space.name,
        missing=f"no score network for {space.name}{kind} ships with the package",
        train=f"train one with `nag train score --space {space.name} --out FILE`, then set `checkpoint: FILE`; or set "
        "`checkpoint: untrained`, which knows nothing of what is legal or good",
    )
