"""Diffusion seeds, evolution refines: guided diffusion finds the region, mutations search it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from orchestrator.generate.diffusion_nag.generator import DiffusionNAG
from orchestrator.generate.evolution import RegularizedEvolution
from orchestrator.space.base import Space


class DiffusionEvolution(RegularizedEvolution):
    """Regularised evolution that starts from all that guided diffusion has met.

    Of other shares and generators, compose your own: `RegularizedEvolution(space, start=...)`.
    """

    name = "diffusion_evolution"

    def __init__(
        self,
        space: Space,
        *,
        checkpoint: Path | None = None,
        diffusion_calls: Annotated[int, Field(ge=1)] = 1,
        calls_per_architecture: Annotated[int, Field(ge=1)] = 4,
    ) -> None:
        """Args:
        space: What to search.
        checkpoint: The score network; None for the one that ships with the package.
        diffusion_calls: Architectures that guided diffusion evaluates, for each one returned.
        calls_per_architecture: Architectures evaluated for each one returned, those of diffusion included.

        Raises:
            CheckpointError: The score network cannot be used.
        """
        start = DiffusionNAG(space, checkpoint=checkpoint, calls_per_architecture=diffusion_calls)
        super().__init__(space, start=start, calls_per_architecture=calls_per_architecture)
