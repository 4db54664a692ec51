"""The plan of a collection: which jobs there are, and in which order.

The order is random, in complete blocks: models come in random order, and all settings of a model, in random order,
follow one another on each device. So neither a phone's warming up nor its drift over days is mistaken for a property
of models, settings of one model are compared within minutes, and what was compiled for one job serves the next.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.campaign.device_config import HostDeviceConfig
from orchestrator.collect.config import HOST_DELEGATES, CollectConfig
from orchestrator.collect.records import ORIGINAL, CollectJob, CollectModel, Setting


def all_settings(config: CollectConfig) -> tuple[Setting, ...]:
    """Every way in which some model is run."""
    precisions: dict[str, None] = dict.fromkeys(config.settings.precision)
    if "float32" in precisions:
        precisions = dict.fromkeys([*precisions, ORIGINAL])
    return tuple(
        Setting(precision, delegate, threads)
        for precision in precisions
        for delegate in config.settings.delegate
        for threads in config.settings.threads
    )


def make_jobs(
    config: CollectConfig, models: Sequence[CollectModel], replicas: Mapping[str, int]
) -> Iterator[CollectJob]:
    """All jobs in their order; the same arguments give the same ones.

    Args:
        config: The collection.
        models: What it measures; those with a `failure` get no jobs.
        replicas: Device -> how many phones share its jobs.
    """
    rng = random.Random(config.seed)
    order = [model for model in models if model.failure is None]
    rng.shuffle(order)
    shared = round(config.overlap.share * len(order))
    if config.overlap.share > 0:
        shared = max(shared, 1)
    # Any of a random order are random ones; spread over it, they also see the phones at different times.
    overlapping = {order[index * len(order) // shared].id for index in range(min(shared, len(order)))}
    settings = all_settings(config)
    hosts = {device.name for device in config.devices if isinstance(device, HostDeviceConfig)}
    number = 0
    for model in order:
        own = [setting for setting in settings if setting.precision != ("float32" if _is_file(model) else ORIGINAL)]
        wanted = [
            (setting, device)
            for setting in own
            for device in config.device_names
            if device not in hosts or setting.delegate in HOST_DELEGATES
        ]
        rng.shuffle(wanted)
        for setting, device in wanted:
            copies = min(config.overlap.phones, replicas.get(device, 1)) if model.id in overlapping else 1
            for replicate in range(max(copies, 1)):
                yield CollectJob(number, model, setting, device, replicate, overlap=copies > 1)
                number += 1


def _is_file(model: CollectModel) -> bool:
    return model.architecture is None
