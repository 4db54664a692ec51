"""What a campaign knows before it measures: earlier runs, what other devices charge, what other data sets want."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from orchestrator.campaign.config import Config, latency_metric
from orchestrator.campaign.warm_start import EarlierValue, WarmStart
from orchestrator.optimize.beliefs import Knowledge
from orchestrator.predict.accuracy_belief import AccuracyBelief
from orchestrator.predict.latency.checkpoint import has_shipped_prior, load_prior, shipped_prior
from orchestrator.predict.latency.prior import LatencyPrior
from orchestrator.predict.latency.structures import structures_of
from orchestrator.predict.price_beliefs import PriceBelief, belief_of_device, beliefs_of
from orchestrator.predict.transfer.predictor import TransferPredictor
from orchestrator.predict.transfer.tasks import images_of
from orchestrator.space.base import Space


def knowledge_of(config: Config, space: Space, warm: WarmStart, tables: Collection[str]) -> Knowledge:
    """What the surrogates are told.

    Args:
        config: The campaign.
        space: Its space.
        warm: What it began with.
        tables: Devices that look latencies up: the prior that ships may have been made from the same figures, and is
            for devices that run. A prior that is named is for all.

    Raises:
        CheckpointError: A prior cannot be used.
        DataError: The images that a prior is to look at cannot.
    """
    prior = _prior(config.latency_prior, space)
    known = () if prior is None else beliefs_of(prior, structures_of(space), space)
    prices: dict[str, tuple[PriceBelief, ...]] = {}
    for name in config.device_names:
        metric = latency_metric(name)
        before = [each for each in warm.hints if each.metric == metric]
        told = () if config.latency_prior == "auto" and name in tables else known
        prices[metric] = (*told, *([_of_device(space, before)] if before else []))
    return Knowledge(warm.observations, prices, _accuracy(config, space))


def _accuracy(config: Config, space: Space) -> AccuracyBelief | None:
    images = config.seen_images
    if config.accuracy_prior is None or images is None:
        return None
    predictor = TransferPredictor.load(config.accuracy_prior.checkpoint, space)
    return predictor.on(images_of(images)).belief()


def _prior(choice: str | Path, space: Space) -> LatencyPrior | None:
    if choice == "none" or (choice == "auto" and not has_shipped_prior(space)):
        return None
    return load_prior(choice, space) if isinstance(choice, Path) else shipped_prior(space)


def _of_device(space: Space, values: list[EarlierValue]) -> PriceBelief:
    return belief_of_device(
        space,
        np.array([each.slots for each in values], dtype=np.int64),
        np.array([each.value for each in values]),
        np.array([each.variance or 0.0 for each in values]),
    )
