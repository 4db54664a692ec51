"""`nag train score`: the score network of DiffusionNAG."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.progress import interrupt, training_progress

if TYPE_CHECKING:
    from orchestrator.generate.diffusion_nag.training_set import TrainingSet
    from orchestrator.space.base import FloatArray, IntArray, Space

INTERRUPTED = 130
_UNIFORM_DRAWS = 200_000
_TILTED_DRAWS = 32_768  # each costs some forty calls of the predictor


def score(
    space: Annotated[str, typer.Option(help="Search space, e.g. nasbench201.", show_default=False)],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 10_000,
    batch: Annotated[int, typer.Option(min=1, help="Architectures a step.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="All randomness derives from it.")] = 0,
    holdout: Annotated[
        float,
        typer.Option(min=0.0, max=0.99, help="Random share of the space kept out, so that novelty has a meaning."),
    ] = 0.5,
    draws: Annotated[
        int | None,
        typer.Option(
            min=1, help="Training set of a space too large to be listed; default: 200,000, or 32,768 with --weights."
        ),
    ] = None,
    architectures: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:COLUMN]",
            help="Train on these instead: a text file with one architecture a line, or a table and the column that "
            "says how often each is drawn.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE:COLUMN|ofa:FILE",
            help="Draw the better ones more often: by a table's column of measured quality, or by OFA's predictor.",
        ),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.001, help="With --weights: standard deviations of quality that make one e times as frequent."
        ),
    ] = 0.1,
    for_its_work: Annotated[
        bool,
        typer.Option("--for-its-work", help="With --weights: quality among those of about as many multiply-adds."),
    ] = False,
    channels: Annotated[int, typer.Option(min=4, help="Width of the network; a multiple of 4.")] = 64,
    layers: Annotated[int, typer.Option(min=1, help="Depth of the network.")] = 4,
    out: Annotated[Path | None, typer.Option(help="Checkpoint to write; default: SPACE.safetensors.")] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between savings of an unfinished training.")] = 500,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Train the score network of a space, and sample from it once."""
    import json

    import torch

    from orchestrator.errors import ConfigError, Problem
    from orchestrator.generate.base import Request
    from orchestrator.generate.diffusion_nag.generator import DiffusionNAG
    from orchestrator.generate.diffusion_nag.score_network import NetworkConfig
    from orchestrator.generate.diffusion_nag.train import TrainConfig, train_score
    from orchestrator.generate.training import state_file
    from orchestrator.space.registry import parse_space

    problems = []
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        allowed = "cpu or cuda" if torch.cuda.is_available() else "cpu (this torch sees no CUDA device)"
        problems.append(Problem("--device", device, allowed))
    network = NetworkConfig(channels=channels, layers=layers)
    if channels % network.heads:
        problems.append(Problem("--channels", channels, f"a multiple of {network.heads}"))
    if problems:
        raise ConfigError("nag train score", problems)
    chosen = parse_space(space)
    data = _Data(architectures, weights, temperature, for_its_work, holdout, draws, seed)
    slots, described, how_often = data.make(chosen)
    target = out or Path(f"{chosen.name}.safetensors")
    config = TrainConfig(steps=steps, batch=batch, seed=seed, save_every=save_every, network=network)
    print(f"training on {len(slots):,} architectures ({described.kind}), seed {seed}", file=sys.stderr)
    if resume and not state_file(target).exists():
        print(f"nothing to resume at {state_file(target)}: starting at step 0", file=sys.stderr)
    command = (
        f"nag train score --space {space} --steps {steps} --batch {batch} --seed {seed} "
        f"--channels {channels} --layers {layers} {data.options()}"
    )
    with training_progress(steps, "score network") as show, interrupt() as stopped:
        reached = train_score(
            chosen, slots, described, config, target,
            weights=how_often, resume=resume, device=device, progress=show, stop=stopped,
            provenance={"command": command},
        )  # fmt: skip
    if reached.step < steps:
        print(f"stopped at step {reached.step}: the same command with --resume goes on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    quality = DiffusionNAG(chosen, checkpoint=target).propose(Request(count=1000))
    values = {
        "checkpoint": str(target),
        "steps": reached.step,
        "loss": reached.loss,
        "seconds": round(reached.seconds, 1),
        "cpu_seconds": round(reached.cpu_seconds, 1),
        "validity_unprojected": quality.validity_unprojected,
        "uniqueness": quality.uniqueness,
        "novelty": quality.novelty,
    }
    if as_json:
        print(json.dumps(values, indent=2))
    else:
        for name, value in values.items():
            print(f"{name:22} {value:.4f}" if isinstance(value, float) else f"{name:22} {value}")


@dataclass(frozen=True)
class _Data:
    """What is trained on, as the options say."""

    architectures: str | None
    weights: str | None
    temperature: float
    for_its_work: bool
    holdout: float
    draws: int | None
    seed: int

    def make(self, space: Space) -> tuple[IntArray, TrainingSet, FloatArray | None]:
        """(`N`, `S`) architectures, their description, and how often each is drawn, (`N`,).

        Raises:
            ConfigError: Options that do not go together, or are of another space.
            DataError: A file cannot be used.
            IllegalArchitecture: A file lists something that is not in the space.
        """
        from orchestrator.errors import ConfigError, Problem
        from orchestrator.generate.diffusion_nag.quality import Tilt, tilted_draws, tilted_weights
        from orchestrator.generate.diffusion_nag.training_set import random_share, uniform_draws
        from orchestrator.generate.guides import make_score
        from orchestrator.generate.pool import enumerate_space
        from orchestrator.generate.pool import score as scores_of

        tilt = Tilt(self.temperature, self.for_its_work)
        if self.weights is None:
            if self.architectures is not None:
                return _listed(space, self.architectures, at_least=0.0)
            if enumerate_space(space) is None:
                return *uniform_draws(space, self.draws or _UNIFORM_DRAWS, self.seed), None
            return *random_share(space, 1 - self.holdout, self.seed), None
        if not self.weights.startswith("ofa:"):
            if self.architectures is not None:
                raise ConfigError(
                    "nag train score", [Problem("--architectures", self.architectures, "not with a table")]
                )
            slots, described, values = _listed(space, self.weights)
            if values is None:
                raise ConfigError("nag train score", [Problem("--weights", self.weights, "FILE:COLUMN or ofa:FILE")])
            return slots, described, tilted_weights(space, slots, values, tilt)
        quality = make_score(space, self.weights)
        if self.architectures is not None:
            slots, described, _ = _listed(space, self.architectures)
            return slots, described, tilted_weights(space, slots, scores_of(quality, slots, space), tilt)
        name = Path(self.weights.removeprefix("ofa:")).name
        return *tilted_draws(space, quality, self.draws or _TILTED_DRAWS, self.seed, tilt, name), None

    def options(self) -> str:
        """As they would be given again; files by their names."""
        parts = [f"--holdout {self.holdout:g}"] if self.architectures is None and self.weights is None else []
        if self.draws is not None:
            parts.append(f"--draws {self.draws}")
        if self.architectures is not None:
            parts.append(f"--architectures {Path(self.architectures).name}")
        if self.weights is not None:
            kind = "ofa:" if self.weights.startswith("ofa:") else ""
            parts.append(
                f"--weights {kind}{Path(self.weights.removeprefix(kind)).name} --temperature {self.temperature:g}"
            )
        if self.for_its_work:
            parts.append("--for-its-work")
        return " ".join(parts)


def _listed(
    space: Space, source: str, at_least: float | None = None
) -> tuple[IntArray, TrainingSet, FloatArray | None]:
    """The architectures of a text file, or of a table with a column's values. Raises DataError, IllegalArchitecture."""
    import numpy as np

    from orchestrator.errors import DataError
    from orchestrator.generate.diffusion_nag.training_set import from_file
    from orchestrator.generate.table_guide import read_column, split_column

    path, column = split_column(source)
    values = None
    if column is None:
        try:
            texts = [line for line in path.read_text().splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: cannot be read: {error}", "give a text file with one architecture a line"
            ) from error
    else:
        listed = read_column(path, column, at_least=at_least)
        texts, values = list(listed), np.array(list(listed.values()))
    slots = np.array([space.parse(text).slots for text in texts], dtype=np.int64).reshape(-1, len(space.choices))
    if not len(slots) or (at_least == 0 and values is not None and not values.any()):
        raise DataError(f"{source}: nothing to train on", "give at least one architecture with a weight above 0")
    return slots, from_file(slots, path.name), values
