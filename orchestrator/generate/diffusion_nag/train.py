"""Training of a score network by denoising score matching.

    L = E_t E_{x_0, x_t} lambda(t) || s_theta(x_t, sigma) - grad log p(x_t | x_0) ||^2,    lambda(t) = sigma(t)^4

With s_theta = (D - x_t) / sigma^2 the loss is || D(x_t, sigma) - x_0 ||^2, whose minimiser is D = E[x_0 | x_t]. The
paper's lambda = sigma^2 weighs it by 1 / sigma^2, that is towards low noise, where each slot can be read off by itself
and nothing is left to learn; what the network adds, how slots depend on each other, shows where noise is high.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orchestrator.generate.diffusion_nag.checkpoint import new_network, save_checkpoint
from orchestrator.generate.diffusion_nag.score_network import NetworkConfig, ScoreNetwork
from orchestrator.generate.diffusion_nag.sde import VESDE, encode, perturb
from orchestrator.generate.diffusion_nag.training_set import TrainingSet, digest
from orchestrator.generate.pool import width
from orchestrator.generate.training import LoopConfig, Progress, finish, train
from orchestrator.space.base import FloatArray, IntArray, Space


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """How a score network is trained.

    Attributes:
        network: Size of the network.
        sde: Noise levels.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    sde: VESDE = field(default_factory=VESDE)


def train_score(
    space: Space,
    architectures: IntArray,
    training_set: TrainingSet,
    config: TrainConfig,
    out: Path,
    *,
    weights: FloatArray | None = None,
    resume: bool = False,
    device: str = "cpu",
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Progress:
    """Train a score network and write its checkpoint to `out`.

    Args:
        space: The space.
        architectures: (`N`, `S`) training set.
        training_set: Its description.
        config: How.
        out: Where the checkpoint goes; the state of an unfinished training stands beside it.
        weights: (`N`,) how often each is drawn, relative to the others; None for equally often. Weighing by quality
            is what makes a score network know more than legality.
        resume: Go on from the state of an unfinished training, where there is one.
        device: Torch device.
        provenance: Kept in the checkpoint (the command, say).
        progress: Told after every step.
        stop: Asked after every step; once true, the state is saved and training ends.

    Returns:
        How far it came: `step` is less than `config.steps` if it was stopped.

    Raises:
        CheckpointError: The state is of another training, there is one but `resume` is off, or a file cannot be used.
    """
    identity = {"training_set": training_set.sha256, "space": space.name}
    if weights is not None:
        identity["weights"] = digest(weights[:, None].view("int64"))
    network = new_network(space, config.network, config.seed).to(device).train()
    x0 = encode(architectures, width(space))
    drawn = None if weights is None else torch.from_numpy(weights).double()

    def loss(generator: torch.Generator) -> Tensor:
        if drawn is None:
            rows = torch.randint(len(x0), (config.batch,), generator=generator)
        else:
            rows = torch.multinomial(drawn, config.batch, replacement=True, generator=generator)
        sigma = config.sde.sigma(torch.rand(config.batch, generator=generator))
        return denoising_loss(network, x0[rows].to(device), sigma.to(device), generator)

    trained = train(network, loss, config, out, identity=identity, resume=resume, progress=progress, stop=stop)
    if trained.reached.step == config.steps:
        how = {**trained.provenance, **(provenance or {})}
        save_checkpoint(out, space, trained.average, config.network, config.sde, training_set, how)
        finish(out)
    return trained.reached


def denoising_loss(network: ScoreNetwork, x0: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Mean of || D(x_t, sigma) - x_0 ||^2 over (`B`, `S`, `V`), at noise levels (`B`,)."""
    x = perturb(x0, sigma, generator)
    return (network(x, sigma) - x0).square().mean()
