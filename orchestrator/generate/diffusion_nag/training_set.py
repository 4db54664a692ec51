"""What a score network was trained on, in words that can be turned into the architectures again.

Novelty is the share of samples outside the training set, so a checkpoint has to say what its training set was.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.errors import CheckpointError
from orchestrator.generate.pool import enumerate_space
from orchestrator.space.base import IntArray, Space


@dataclass(frozen=True)
class TrainingSet:
    """Description of a training set.

    Attributes:
        kind: `random_share` of a listable space, `uniform_draws` or `tilted_draws` (see `quality`) of a larger one, a
            `file` of the user's, or `nothing`.
        count: Architectures `N`.
        sha256: Of the architectures, whatever their order.
        share: Of the space (`random_share`).
        seed: Of the choice (`random_share`, `uniform_draws`).
        source: The file's name (`file`), or what they are tilted by (`tilted_draws`).
    """

    kind: Literal["random_share", "uniform_draws", "tilted_draws", "file", "nothing"]
    count: int
    sha256: str
    share: float | None = None
    seed: int | None = None
    source: str | None = None

    def architectures(self, space: Space) -> IntArray | None:
        """(`N`, `S`): the training set again; None where that takes a file, which only its owner has.

        Raises:
            CheckpointError: The space now gives other architectures than it did when the network was trained.
        """
        if self.seed is None:
            return None
        if self.share is not None:
            slots, _ = random_share(space, self.share, self.seed)
        else:
            slots, _ = uniform_draws(space, self.count, self.seed)
        if digest(slots) != self.sha256:
            raise CheckpointError(
                f"the training set of this {space.name} score network cannot be made again",
                "the space's order of architectures has changed since; train again with `nag train score`",
            )
        return slots


def random_share(space: Space, share: float, seed: int) -> tuple[IntArray, TrainingSet]:
    """A fixed random share of a space that can be listed, (`N`, `S`), and its description.

    Raises:
        CheckpointError: The space is too large to be listed.
    """
    everything = enumerate_space(space)
    if everything is None:
        raise CheckpointError(f"{space.name} is too large to be listed", "train on uniform draws instead")
    chosen = np.random.default_rng(seed).permutation(len(everything))[: round(share * len(everything))]
    slots = np.asarray(everything[np.sort(chosen)])
    return slots, TrainingSet("random_share", len(slots), digest(slots), share=share, seed=seed)


def uniform_draws(space: Space, count: int, seed: int) -> tuple[IntArray, TrainingSet]:
    """Uniform draws with replacement, (`N`, `S`), and their description."""
    slots = space.sample(count, np.random.default_rng(seed))
    return slots, TrainingSet("uniform_draws", count, digest(slots), seed=seed)


def from_file(slots: IntArray, source: str) -> TrainingSet:
    """Description of the user's own architectures, (`N`, `S`)."""
    return TrainingSet("file", len(slots), digest(slots), source=source)


def nothing(space: Space) -> TrainingSet:
    """Description of what an untrained network has seen."""
    return TrainingSet("nothing", 0, digest(np.zeros((0, len(space.choices)), dtype=np.int64)))


def digest(slots: IntArray) -> str:
    """Sha256 of (`N`, `S`) architectures, whatever their order."""
    ordered = slots[np.lexsort(slots.T[::-1])]
    return hashlib.sha256(np.ascontiguousarray(ordered, dtype="<i8").tobytes()).hexdigest()
