"""Guides: what generation is steered by outside of a campaign, named as on the command line.

A score is `FILE:COLUMN` (a predictor fitted on a table), `ofa:FILE` (OFA's accuracy predictor), or
`accuracy:CHECKPOINT@DATASET[@FILE:COLUMN]` (a predictor across data sets, on images that nothing was trained on, or
only the architectures of a table); a device whose latencies can be predicted is `table:FILE:COLUMN` or
`lut:FILE[@WIDTH]` (a table of blocks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.errors import ConfigError, Problem
from orchestrator.generate.base import Generator, Utility
from orchestrator.generate.budget import Prediction, WeightedSum, budget_utility, spread
from orchestrator.generate.pool import score
from orchestrator.generate.table_guide import TablePrediction, fit_latency, fit_score, read_percent
from orchestrator.space.base import FloatArray, IntArray, Space
from orchestrator.space.mobilenetv3 import MobileNetV3

if TYPE_CHECKING:
    from orchestrator.generate.dinas.conditions import Conditions

DEVICES = "table:FILE:COLUMN or lut:FILE[@WIDTH]"


@dataclass(frozen=True)
class Budget:
    """A latency budget on a device whose latencies can be predicted.

    Attributes:
        device: As on the command line.
        latency_ms: The device's latencies.
        budget_ms: Milliseconds.
    """

    device: str
    latency_ms: Prediction
    budget_ms: float

    def known_ms(self, slots: IntArray, space: Space) -> FloatArray:
        """(`B`,) latencies of (`B`, `S`) architectures: the table's own where it lists them, predictions elsewhere."""
        predicted = score(self.latency_ms, slots, space)
        if not isinstance(self.latency_ms, TablePrediction):
            return predicted
        recorded = self.latency_ms.recorded(slots)
        return np.where(np.isnan(recorded), predicted, recorded)


def make_score(space: Space, text: str, *, seed: int = 0) -> Utility:
    """What a text names, in its own unit.

    Args:
        space: Whose architectures are scored.
        text: `FILE:COLUMN`, `ofa:FILE` or `accuracy:CHECKPOINT@DATASET[@FILE:COLUMN]`.
        seed: Chooses the rows of a table that its predictor is fitted on.

    Raises:
        ConfigError: Some other text, or a predictor of another space.
        DataError: The file cannot be used.
        IllegalArchitecture: A table lists something that is not in the space.
    """
    kind, _, rest = text.partition(":")
    if kind == "accuracy":
        return _across_datasets(space, text, rest)
    if kind != "ofa":
        return fit_score(space, text, seed=seed)
    from orchestrator.predict.ofa_accuracy import OfaAccuracy

    return OfaAccuracy(Path(rest), _mobilenetv3(space, "--guide", text))


def _across_datasets(space: Space, text: str, rest: str) -> Utility:
    """Accuracy on a data set, given what was evaluated there, if anything was.

    Raises:
        ConfigError, CheckpointError, DataError, IllegalArchitecture: As of `make_score`.
    """
    from orchestrator.predict.transfer.predictor import TransferPredictor
    from orchestrator.predict.transfer.tasks import images_of

    checkpoint, _, more = rest.partition("@")
    dataset, _, evaluated = more.partition("@")
    if not dataset:
        allowed = (
            "accuracy:CHECKPOINT@DATASET[@FILE:COLUMN], with digits, an .npz or a folder of pictures as the data set"
        )
        raise ConfigError("guidance", [Problem("--guide", text, allowed)])
    known = read_percent(space, evaluated) if evaluated else None
    unseen = TransferPredictor.load(Path(checkpoint), space).on(images_of(dataset))
    return unseen if known is None else unseen.given(known.slots, known.values)


def make_latency(space: Space, device: str, *, seed: int = 0) -> Prediction:
    """Milliseconds on the device that `table:FILE:COLUMN` or `lut:FILE[@WIDTH]` names; errors as of `make_score`."""
    kind, _, rest = device.partition(":")
    if kind == "table":
        return fit_latency(space, rest, seed=seed)
    if kind == "lut":
        return _block_table(space, device, rest)
    raise ConfigError(
        "nag generate",
        [Problem("--device", device, DEVICES)],
        "a budget needs latencies to learn from: measure some (nag collect, nag lut build), or run a campaign",
    )


def make_budget(space: Space, device: str, budget_ms: float, *, seed: int = 0) -> Budget:
    """A budget on a device; errors as of `make_latency`."""
    return Budget(device, make_latency(space, device, seed=seed), budget_ms)


def make_utility(space: Space, scores: Sequence[Utility], budget: Budget | None = None) -> Utility:
    """The sum of scores, each in its own spread over the space, within a budget.

    Args:
        space: Whose architectures are scored.
        scores: What is maximised; none where the budget is all that is asked.
        budget: What must be kept.

    Raises:
        ConfigError: The budget is not above 0.
    """
    total = WeightedSum([(each, spread(space, each)) for each in scores])
    return budget_utility(space, total, budget.latency_ms, budget.budget_ms) if budget else total


def make_conditions(generator: Generator, budget: Budget | None, accuracy_quantile: float | None) -> Conditions | None:
    """What is asked of a generator that is trained on conditions; None where it is not, or nothing is asked.

    Args:
        generator: To be asked.
        budget: What must be kept; the device is described by its latencies of the generator's reference architectures.
        accuracy_quantile: In [0, 1): be better than this share of what keeps the budget.

    Raises:
        ConfigError: An accuracy is asked of a generator that knows of none.
    """
    from orchestrator.generate.dinas.conditions import Conditions, DeviceBudget
    from orchestrator.generate.dinas.generator import DiNAS

    if not isinstance(generator, DiNAS):
        if accuracy_quantile is not None:
            allowed = f"with {DiNAS.name}, which is trained on conditions; {generator.name} maximises a --guide"
            raise ConfigError("nag generate", [Problem("--accuracy-quantile", accuracy_quantile, allowed)])
        return None
    if budget is None:
        return None if accuracy_quantile is None else Conditions.of(accuracy_quantile)
    known_ms = partial(budget.known_ms, space=generator.space)
    asked = DeviceBudget.on(known_ms, budget.budget_ms, generator.references, budget.device)
    return Conditions.of(accuracy_quantile, [asked])


def predictions(space: Space, scores: Mapping[str, Prediction], slots: IntArray) -> dict[str, list[float]]:
    """What each of some named predictors says of (`B`, `S`) architectures."""
    return {name: score(each, slots, space).tolist() for name, each in scores.items()}


def _block_table(space: Space, device: str, rest: str) -> Prediction:
    from orchestrator.predict.block_table import BlockTable
    from orchestrator.space.mobilenetv3_network import DEFAULT_WIDTH

    name, _, width = rest.rpartition("@")
    if not name or Path(rest).exists():
        name, width = rest, str(DEFAULT_WIDTH)
    try:
        multiplier = float(width)
    except ValueError:
        raise ConfigError(
            "nag generate", [Problem("--device", device, "lut:FILE[@WIDTH], e.g. lut:blocks.csv.gz@1.2")]
        ) from None
    return BlockTable.read(Path(name), _mobilenetv3(space, "--device", device), width=multiplier)


def _mobilenetv3(space: Space, option: str, text: str) -> MobileNetV3:
    """The space, which what a text names is made for. Raises ConfigError."""
    if not isinstance(space, MobileNetV3):
        raise ConfigError("nag generate", [Problem(option, text, f"one for {space.name}; this is for mobilenetv3")])
    return space
