"""Made-up devices that run a folder's operators: what is expected of a device where none has been measured.

Devices are those of `synthetic.py`, which do one layer after the other; how much faster each multiplies integers is
drawn as well. They also run made-up models, random parts of the folder's: there are more of these than prices, so that
each price shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from orchestrator.predict.latency.models import ModelFile, as_cost, model_amounts
from orchestrator.predict.latency.synthetic import SyntheticDevice, draw_devices
from orchestrator.space.base import FloatArray
from profiling.tflite_layers import ModelLayer

_MADE_UP = 300  # models
_USUAL_LAYERS, _LAYERS_SD = 50, 0.8  # of a made-up model
_SPEED_UP, _SPEED_UP_SD = 2.0, 0.5  # of integers over float32: some devices have instructions for them


def made_up_tables(models: Sequence[ModelFile], count: int, seed: int = 0) -> dict[str, tuple[Tensor, FloatArray]]:
    """Device -> (`N`, `K`) amounts of models, the folder's and made-up ones, and (`N`,) milliseconds.

    Args:
        models: At least one.
        count: Of devices.
        seed: Of all that is made up.
    """
    alone = [[replace(layer, waits_for=()) for layer in model.layers] for model in models]
    layers = list(dict.fromkeys(layer for own in alone for layer in own))
    place = {layer: index for index, layer in enumerate(layers)}
    whole = np.zeros((len(models), len(layers)))
    for row, own in enumerate(alone):
        for layer, times in Counter(own).items():
            whole[row, place[layer]] = times
    used = np.concatenate([whole, _parts(layers, np.random.default_rng((seed, 1)))])
    each = np.stack([model_amounts([layer]) for layer in layers])
    amounts = used @ each
    amounts[:, 0] = 1.0  # the constant, which is no layer's
    inputs = torch.from_numpy(amounts)
    tables = {}
    for index, device in enumerate(draw_devices(count, seed)):
        speed_up = float(np.exp(np.random.default_rng((seed, 2, index)).normal(np.log(_SPEED_UP), _SPEED_UP_SD)))
        times_ms = np.array([_layer_ms(device, layer, speed_up) for layer in layers])
        tables[device.name] = inputs, device.fixed_ms + used @ times_ms
    return tables


def _parts(layers: Sequence[ModelLayer], rng: np.random.Generator) -> FloatArray:
    """(`N`, `L`) how often each layer is used: kinds in random shares, so that none always comes with another."""
    kinds = np.array([f"{layer.kind} {layer.integer}" for layer in layers])
    names = sorted(set(kinds))
    members = [np.flatnonzero(kinds == name) for name in names]
    used = np.zeros((_MADE_UP, len(layers)))
    for row in used:
        shares = rng.dirichlet(np.full(len(names), 0.5))
        size = max(1, round(float(np.exp(rng.normal(np.log(_USUAL_LAYERS), _LAYERS_SD)))))
        for own, times in zip(members, rng.multinomial(size, shares), strict=True):
            np.add.at(row, rng.choice(own, times), 1.0)
    return used


def _layer_ms(device: SyntheticDevice, layer: ModelLayer, speed_up: float) -> float:
    cost = as_cost(layer, speed_up if layer.integer else 1.0)
    return device.latency_ms([cost]) - device.fixed_ms
