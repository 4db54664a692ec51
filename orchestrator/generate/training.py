"""The training loop that generators share: Adam, warm-up and cosine, an average of the weights, exact resumption.

Training can be interrupted and resumed at any step, exactly: weights, optimiser moments and the state of the random
generator are kept in a second safetensors file until the last step is done. Random numbers are drawn on the CPU, so
the same seed sees the same data on any device.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.errors import CheckpointError
from orchestrator.generate.tensor_file import read_tensors, write_tensors

STATE_FORMAT = "devicenag-training/1"
_LOSS_WINDOW = 100  # steps that the reported loss is averaged over

Loss = Callable[[torch.Generator], Tensor]


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast a network is trained.

    Attributes:
        steps: Optimiser steps.
        batch: Architectures a step, `B`.
        learning_rate: Adam's, at its highest; reached after `warmup` steps, then a cosine down to 0.
        warmup: Steps.
        clip: Largest norm of the gradient.
        ema_decay: Of the exponential moving average of the weights, which is what is kept.
        seed: All randomness derives from it.
        save_every: Steps between two savings of the training's state.
    """

    steps: int = 10_000
    batch: int = 256
    learning_rate: float = 1e-3
    warmup: int = 500
    clip: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    save_every: int = 500


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


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        reached: How far it came: `step` is less than the steps wanted if it was stopped.
        average: The averaged weights.
        provenance: How it was made, for the checkpoint's header.
    """

    reached: Progress
    average: Mapping[str, Tensor]
    provenance: Mapping[str, Any]


def train(
    network: nn.Module,
    loss: Loss,
    config: LoopConfig,
    out: Path,
    *,
    identity: Mapping[str, Any],
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a network; the state of an unfinished training stands beside `out` until `finish` removes it.

    Args:
        network: On its device, in training mode.
        loss: Of one batch; draws all its random numbers from the generator that it is given.
        config: How. A subclass may say more: all of it is kept.
        out: Where the caller is going to write the checkpoint.
        identity: What the training is of, beside `config`; a state of another identity is not resumed.
        resume: Go on from the state of an unfinished training, where there is one.
        progress: Told after every step.
        stop: Asked after every step; once true, the state is saved and training ends.

    Raises:
        CheckpointError: The state is of another training, there is one but `resume` is off, or a file cannot be used.
    """
    state_path = state_file(out)
    training = _Training(network, config)
    known = json.loads(json.dumps({"config": asdict(config), **identity}))  # as it is read again: tuples become lists
    if state_path.exists():
        if not resume:
            raise CheckpointError(f"{state_path} holds an unfinished training", "add --resume, or delete the file")
        training.restore(state_path, known)
    losses: deque[float] = deque(maxlen=_LOSS_WINDOW)
    saved = training.step
    while training.step < config.steps and not stop():
        losses.append(training.advance(loss))
        progress(training.reached(losses))
        if training.step - saved >= config.save_every:
            training.save(state_path, known)
            saved = training.step
    reached = training.reached(losses)
    if reached.step < config.steps:
        training.save(state_path, known)
    how = {
        "train": asdict(config),
        "seconds": round(reached.seconds, 1),
        "cpu_seconds": round(reached.cpu_seconds, 3),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    return Trained(reached, training.average, how)


def finish(out: Path) -> None:
    """Remove the state of a training whose checkpoint has been written."""
    state_file(out).unlink(missing_ok=True)


def state_file(out: Path) -> Path:
    """Where the state of an unfinished training of `out` is kept."""
    return out.with_name(out.stem + ".training.safetensors")


class _Training:
    """Everything that changes from step to step."""

    def __init__(self, network: nn.Module, config: LoopConfig) -> None:
        self.network = network
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.config = config
        self.step = 0
        # As if the seconds spent before an interruption had just passed.
        self.started, self.cpu_started = time.perf_counter(), time.process_time()

    def advance(self, loss_of_batch: Loss) -> float:
        """One optimiser step; returns its loss."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * _schedule(self.step, config)
        loss = loss_of_batch(self.generator)
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
            self.average = {name: average[name].to(value.device) for name, value in self.average.items()}
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


def _schedule(step: int, config: LoopConfig) -> float:
    """Share of the learning rate at a step: linear warm-up, then a cosine."""
    warmup = min(config.warmup, config.steps // 2)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(config.steps - warmup, 1)))
