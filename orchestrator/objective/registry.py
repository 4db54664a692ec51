"""Objectives by kind. Importing this module imports no torch."""

from __future__ import annotations

from typing import assert_never

from orchestrator.objective.base import Objective
from orchestrator.objective.config import (
    CommandConfig,
    ObjectiveConfig,
    OfaPredictorConfig,
    ProxyConfig,
    TableConfig,
    TrainingConfig,
)
from orchestrator.space.base import NetworkOptions, Space

__all__ = [
    "CommandConfig",
    "ObjectiveConfig",
    "OfaPredictorConfig",
    "ProxyConfig",
    "TableConfig",
    "TrainingConfig",
    "make_objective",
]


def make_objective(config: ObjectiveConfig, space: Space, network: NetworkOptions) -> Objective:
    """The objective that a checked configuration describes.

    Args:
        config: One of the models of `orchestrator.objective.config`.
        space: Whose architectures are evaluated.
        network: Input shape, classes and sizes, which data sets are brought to.

    Raises:
        ConfigError: The configuration does not fit this machine, the space or its networks.
        DataError: A table, data set or predictor cannot be used.
    """
    match config:
        case TrainingConfig():
            from orchestrator.objective.training import TrainingObjective

            return TrainingObjective(config, space, network)
        case TableConfig():
            from orchestrator.objective.table import TableObjective

            return TableObjective(config)
        case OfaPredictorConfig():
            from orchestrator.objective.ofa_predictor import OfaPredictorObjective

            return OfaPredictorObjective(config, space, network)
        case ProxyConfig():
            from orchestrator.objective.proxy import ProxyObjective

            return ProxyObjective(config, space, network)
        case CommandConfig():
            from orchestrator.objective.command import CommandObjective

            return CommandObjective(config)
        case _:
            assert_never(config)
