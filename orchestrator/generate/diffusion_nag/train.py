"""Training of a score network by denoising score matching.

    L = E_t E_{x_0, x_t} lambda(t) || s_theta(x_t, sigma) - grad log p(x_t | x_0) ||^2,    lambda(t) = sigma(t)^4

With s_theta = (D - x_t) / sigma^2 the loss is || D(x_t, sigma) - x_0 ||^2, whose minimiser is D = E[x_0 | x_t]. The
paper's lambda = sigma^2 weighs it by 1 / sigma^2, that is towards low noise, where each slot can be read off by itself
and nothing is left to learn; what the network adds, how slots depend on each other, shows where noise is high.

Training can be interrupted and resumed at any step, exactly: weights, optimiser moments and the state of the random
generator are kept in a second safetensors file until the last step is done. Random numbers are drawn on the CPU, so
the same seed sees the same data on any device.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.errors import CheckpointError
from orchestrator.generate.diffusion_nag.checkpoint import new_network, read_tensors, save_checkpoint, write_tensors
from orchestrator.generate.diffusion_nag.score_network import NetworkConfig, ScoreNetwork
from orchestrator.generate.diffusion_nag.sde import VESDE, encode, perturb
from orchestrator.generate.diffusion_nag.training_set import TrainingSet, digest
from orchestrator.generate.pool import width
from orchestrator.space.base import FloatArray, IntArray, Space

STATE_FORMAT = "devicenag-score-training/1"
_LOSS_WINDOW = 100  # steps that the reported loss is averaged over


@dataclass(frozen=True)
class TrainConfig:
    """How a score network is trained.

    Attributes:
        steps: Optimiser steps.
        batch: Architectures a step, `B`.
        learning_rate: Adam's, at its highest; reached after `warmup` steps, then a cosine down to 0.
        warmup: Steps.
        clip: Largest norm of the gradient.
        ema_decay: Of the exponential moving average of the weights, which is what is kept.
        seed: All randomness derives from it.
        save_every: Steps between two savings of the training's state.
        network: Size of the network.
        sde: Noise levels.
    """

    steps: int = 10_000
    batch: int = 256
    learning_rate: float = 1e-3
    warmup: int = 500
    clip: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    save_every: int = 500
    network: NetworkConfig = field(default_factory=NetworkConfig)
    sde: VESDE = field(default_factory=VESDE)


@dataclass(frozen=True)
class Progress:
    """Where a training stands: steps done, mean loss of the last ones, time spent in all.

    Attributes:
        step: Steps done.
        loss: Mean of the last ones.
        seconds: Wall time.
        cpu_seconds: Processor time, which other work on the machine does not stretch.
    """

    step: int
    loss: float
    seconds: float
    cpu_seconds: float


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
    state_path = state_file(out)
    training = _Training(space, config, device)
    identity = {"config": asdict(config), "training_set": training_set.sha256, "space": space.name}
    if weights is not None:
        identity["weights"] = digest(weights[:, None].view("int64"))
    if state_path.exists():
        if not resume:
            raise CheckpointError(f"{state_path} holds an unfinished training", "add --resume, or delete the file")
        training.restore(state_path, identity)
    x0 = encode(architectures, width(space))
    drawn = None if weights is None else torch.from_numpy(weights).double()
    losses: deque[float] = deque(maxlen=_LOSS_WINDOW)
    saved = training.step
    while training.step < config.steps and not stop():
        losses.append(training.advance(x0, drawn))
        progress(training.reached(losses))
        if training.step - saved >= config.save_every:
            training.save(state_path, identity)
            saved = training.step
    reached = training.reached(losses)
    if reached.step < config.steps:
        training.save(state_path, identity)
        return reached
    how = {
        "train": asdict(config),
        "seconds": round(reached.seconds, 1),
        "cpu_seconds": round(reached.cpu_seconds, 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        **(provenance or {}),
    }
    save_checkpoint(out, space, training.average, config.network, config.sde, training_set, how)
    state_path.unlink(missing_ok=True)
    return reached


def state_file(out: Path) -> Path:
    """Where the state of an unfinished training of `out` is kept."""
    return out.with_name(out.stem + ".training.safetensors")


def denoising_loss(network: ScoreNetwork, x0: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Mean of || D(x_t, sigma) - x_0 ||^2 over (`B`, `S`, `V`), at noise levels (`B`,)."""
    x = perturb(x0, sigma, generator)
    return (network(x, sigma) - x0).square().mean()


class _Training:
    """Everything that changes from step to step."""

    def __init__(self, space: Space, config: TrainConfig, device: str) -> None:
        self.network = new_network(space, config.network, config.seed).to(device).train()
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.config = config
        self.device = device
        self.step = 0
        # As if the seconds spent before an interruption had just passed.
        self.started, self.cpu_started = time.perf_counter(), time.process_time()

    def advance(self, x0: Tensor, weights: Tensor | None) -> float:
        """One optimiser step; returns its loss."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * _schedule(self.step, config)
        if weights is None:
            rows = torch.randint(len(x0), (config.batch,), generator=self.generator)
        else:
            rows = torch.multinomial(weights, config.batch, replacement=True, generator=self.generator)
        sigma = config.sde.sigma(torch.rand(config.batch, generator=self.generator))
        loss = denoising_loss(self.network, x0[rows].to(self.device), sigma.to(self.device), self.generator)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimiser.step()
        # A young average would remember the random start, so its memory grows with it.
        decay = min(config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)
        self.step += 1
        return loss.item()

    def reached(self, losses: Collection[float]) -> Progress:
        """Where it stands, given the last losses."""
        loss = sum(losses) / len(losses) if losses else math.nan
        return Progress(self.step, loss, time.perf_counter() - self.started, time.process_time() - self.cpu_started)

    def save(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Write the state. Raises CheckpointError."""
        tensors = {"generator": self.generator.get_state()}
        tensors |= {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in moments.items()}
        reached = asdict(self.reached([]))
        del reached["loss"]  # of the last steps only
        write_tensors(path, tensors, {"format": STATE_FORMAT, "reached": reached, "identity": identity})

    def restore(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Read a state. Raises CheckpointError when it is another training's or corrupt."""
        tensors, header = read_tensors(path)
        if header.get("format") != STATE_FORMAT or header.get("identity") != identity:
            raise CheckpointError(
                f"{path} is the state of another training",
                "give the same space, training set, steps, batch and seed as then, or delete the file",
            )
        moments: dict[int, dict[str, Tensor]] = {}
        try:
            self.generator.set_state(tensors.pop("generator"))
            for name in [name for name in tensors if name.startswith("adam.")]:
                _, index, moment = name.split(".")
                moments.setdefault(int(index), {})[moment] = tensors.pop(name)
            self.network.load_state_dict(_below("network.", tensors))
            average = _below("average.", tensors)
            self.average = {name: average[name].to(self.device) for name in self.average}
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
            reached = Progress(loss=math.nan, **header["reached"])
            self.step = reached.step
            self.started -= reached.seconds
            self.cpu_started -= reached.cpu_seconds
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} is corrupt: {error}", "delete it and start over") from error


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _schedule(step: int, config: TrainConfig) -> float:
    """Share of the learning rate at a step: linear warm-up, then a cosine."""
    warmup = min(config.warmup, config.steps // 2)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(config.steps - warmup, 1)))
