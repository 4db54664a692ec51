"""Training of a conditional denoiser: cross-entropy of the clean slots under random conditions and noise.

    L = E_t E_{c, x_0 | c, z_t | x_0} - log p_theta(x_0 | z_t, c),     t uniform in [0, 1]

Its minimiser is the exact posterior of each slot, whatever the weights of the noise levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.generate.dinas.asked import Asked
from orchestrator.generate.dinas.calibration import calibrate
from orchestrator.generate.dinas.checkpoint import fingerprints, new_network, save_checkpoint
from orchestrator.generate.dinas.labels import Labels
from orchestrator.generate.dinas.network import Denoiser, NetworkConfig
from orchestrator.generate.dinas.population import Population
from orchestrator.generate.dinas.tasks import TaskConfig, Tasks
from orchestrator.generate.dinas.transitions import alpha_bar, marginals_of
from orchestrator.generate.training import LoopConfig, Progress, finish, train
from orchestrator.space.base import Space


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """How a conditional model is trained.

    Attributes:
        transitions: What slots forget to: the population's marginals, or the uniform distribution.
        network: Size of the network.
        tasks: Which conditions are drawn.
    """

    steps: int = 5000
    transitions: Literal["marginal", "uniform"] = "marginal"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    tasks: TaskConfig = field(default_factory=TaskConfig)


def train_dinas(
    space: Space,
    labels: Labels,
    population: Population,
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Progress:
    """Train a conditional model and write its checkpoint to `out`.

    Args:
        space: The space.
        labels: Where accuracy and latencies come from; their names are kept in the checkpoint.
        population: What it learns from.
        config: How.
        out: Where the checkpoint goes; the state of an unfinished training stands beside it.
        resume: Go on from the state of an unfinished training, where there is one.
        provenance: Kept in the checkpoint (the command, say).
        progress: Told after every step.
        stop: Asked after every step; once true, the state is saved and training ends.

    Returns:
        How far it came: `step` is less than `config.steps` if it was stopped.

    Raises:
        CheckpointError: The state is of another training, there is one but `resume` is off, or a file cannot be used.
    """
    sizes = tuple(len(choices) for choices in space.choices)
    network = new_network(space, config.network, config.seed).train()
    network.marginals.copy_(marginals_of(torch.from_numpy(population.slots), sizes, config.transitions))
    tasks = Tasks(space, population, config.tasks)

    tasks.fit(network.cost_model, torch.Generator().manual_seed(config.seed))

    def loss(generator: torch.Generator) -> Tensor:
        x0, asked = tasks.draw(config.batch, generator)
        return denoising_loss(network, x0, asked, alpha_bar(torch.rand(config.batch, generator=generator)), generator)

    identity = {
        "space": space.name,
        "labels": labels.names,
        "population": int(fingerprints(population.slots).astype("int64").sum()),
        "best": population.slots[population.accuracy.argmax()].tolist(),
    }
    trained = train(network, loss, config, out, identity=identity, resume=resume, progress=progress, stop=stop)
    if trained.reached.step == config.steps:
        network.load_state_dict(trained.average)
        calibration = calibrate(network.eval(), space, population, labels.latencies)
        how = {**trained.provenance, **(provenance or {})}
        save_checkpoint(
            out, space, trained.average, config.network, population.references, population.slots,
            calibration, labels.names, how,
        )  # fmt: skip
        finish(out)
    return trained.reached


def denoising_loss(network: Denoiser, x0: Tensor, asked: Asked, alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Mean of -log p(x_0 | z_t, c) over slots, for (`B`, `S`) clean slots and abar_t of each, (`B`,)."""
    z = network.transitions.corrupt(x0, alpha, generator)
    return functional.cross_entropy(network(z, alpha, asked).flatten(0, 1), x0.flatten())
