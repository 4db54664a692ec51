"""Made-up devices that run a folder's operators: what is expected of a device where none has been measured.

Devices are those of `synthetic.py`, which do one layer after the other; what each does with integers and with wide
windows is drawn as well. They also run made-up models, random parts of the folder's: there are more of these than
prices, so that each price shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from orchestrator.predict.latency.models import ModelFile, as_cost, is_wide, model_amounts
from orchestrator.predict.latency.synthetic import SyntheticDevice, draw_devices
from orchestrator.space.base import FloatArray
from profiling.tflite_layers import ModelLayer

_WIDE = "wide window"
_MADE_UP = 300  # models
_USUAL_LAYERS, _LAYERS_SD = 50, 0.8  # of a made-up model
_SPEED_UP, _SPEED_UP_SD = 2.0, 0.5  # of integer products over those of float32: some devices have instructions
_SLOW, _SLOW_SD = 2.0, 1.0  # of all else with integers, and of wide windows: some runtimes have no good code for them


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
        runtime = _Runtime.drawn(np.random.default_rng((seed, 2, index)))
        times_ms = np.array([runtime.layer_ms(device, layer) for layer in layers])
        tables[device.name] = inputs, device.fixed_ms + used @ times_ms
    return tables


def _parts(layers: Sequence[ModelLayer], rng: np.random.Generator) -> FloatArray:
    """(`N`, `L`) how often each layer is used: kinds in random shares, so that none always comes with another."""
    kinds = np.array([f"{layer.kind} {layer.integer} {is_wide(layer)}" for layer in layers])
    names = sorted(set(kinds))
    members = [np.flatnonzero(kinds == name) for name in names]
    used = np.zeros((_MADE_UP, len(layers)))
    for row in used:
        shares = rng.dirichlet(np.full(len(names), 0.5))
        size = max(1, round(float(np.exp(rng.normal(np.log(_USUAL_LAYERS), _LAYERS_SD)))))
        for own, times in zip(members, rng.multinomial(size, shares), strict=True):
            np.add.at(row, rng.choice(own, times), 1.0)
    return used


@dataclass(frozen=True)
class _Runtime:
    """What a made-up runtime is good and bad at.

    Attributes:
        speed_up: Of integer products.
        slow: What other layers with integers take more, by kind; and products with wide windows.
    """

    speed_up: float
    slow: Mapping[str, float]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Runtime:
        """One of many."""
        kinds = ("pooling", "elementwise", _WIDE)
        slow = np.maximum(np.exp(rng.normal(np.log(_SLOW), _SLOW_SD, len(kinds))), 1.0)
        speed_up = float(np.exp(rng.normal(np.log(_SPEED_UP), _SPEED_UP_SD)))
        return cls(speed_up, dict(zip(kinds, slow.tolist(), strict=True)))

    def layer_ms(self, device: SyntheticDevice, layer: ModelLayer) -> float:
        """Of a layer alone."""
        cost = as_cost(layer, self.speed_up if layer.integer else 1.0)
        factor = self.slow[_WIDE] if is_wide(layer) else self.slow.get(layer.kind, 1.0) if layer.integer else 1.0
        return factor * (device.latency_ms([cost]) - device.fixed_ms)
