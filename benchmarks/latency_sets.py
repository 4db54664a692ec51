"""Published tables of latencies on many devices, as `benchmarks/latency.py` compares predictors on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from orchestrator.generate.pool import width
from orchestrator.predict.latency.layers import KINDS, LayerCost, NetworkStructures, layer_amounts
from orchestrator.predict.latency.prior import LatencyPrior, fit_prior
from orchestrator.predict.latency.structures import SlotStructures, Structures, relaxed, structures_of
from orchestrator.predict.latency.tables import device_columns, read_latencies
from orchestrator.space.base import FloatArray, IntArray, one_hot
from orchestrator.space.nasbench201 import NASBench201

# (channels, blocks, stride of the first, height) of FBNet's stages at 224 x 224 (Wu et al., CVPR 2019, table 1)
_FBNET_STAGES = ((16, 1, 1, 112), (24, 4, 2, 112), (32, 4, 2, 56), (64, 4, 2, 28), (112, 4, 1, 14), (184, 4, 2, 14),
                 (352, 1, 1, 7))  # fmt: skip
_ONNX_COLUMNS = 13  # numbers that describe a layer
_ONNX_KINDS = ("convolution", "depthwise", "elementwise", "elementwise", "pooling")


@dataclass(frozen=True)
class TableSet:
    """`N` networks on many devices.

    Attributes:
        name: As on the command line.
        structures: What the model sees of a network.
        inputs: (`N`, ...) networks.
        latency_ms: Device -> (`N`,).
        work: (`N`,) multiply-adds, in any unit.
        features: (`N`, `F`) what a model without any knowledge gets.
        measurable: (`M`,) rows that are networks at all.
        phone_of: Device -> what is held out together with it; devices alone where nothing is said.
        targets: Devices to predict.
        kind_of: Device -> kind of device, where known.
    """

    name: str
    structures: Structures
    inputs: Tensor
    latency_ms: Mapping[str, FloatArray]
    work: FloatArray
    features: FloatArray
    measurable: IntArray
    targets: tuple[str, ...]
    phone_of: Mapping[str, str] = field(default_factory=dict)
    kind_of: Mapping[str, str] = field(default_factory=dict)

    def prior(self) -> LatencyPrior:
        """What all devices have in common; `LatencyPrior.without` those that are held out before use."""
        return fit_prior(self.structures, {name: (self.inputs, values) for name, values in self.latency_ms.items()})


def nasbench201(data: Path) -> TableSet:
    """13 devices, 15,625 cells; batch sizes of a device are held out together."""
    space, path = NASBench201(), data / "nb201_latency.parquet"
    table = read_latencies(path, device_columns(path), space)
    inputs = relaxed(table.slots, width(space))
    encoding = space.encoding()
    return TableSet(
        name="nasbench201",
        structures=structures_of(space),
        inputs=inputs,
        latency_ms=table.latency_ms,
        work=encoding.work(inputs).numpy(),
        features=inputs.flatten(1).numpy(),
        measurable=np.flatnonzero(encoding.connected(inputs).numpy() > 0),
        targets=tuple(table.latency_ms),
        kind_of={name: _kind(name) for name in table.latency_ms},
    )


def fbnet(data: Path) -> TableSet:
    """13 devices, 5,000 chains of 22 blocks, of which nothing is told but the choices' names."""
    frame = pd.read_parquet(data / "fbnet_latency.parquet")
    names = [text.split("|") for text in frame["ops"]]
    choices = tuple(tuple(sorted(set(column))) for column in zip(*names, strict=True))
    slots = np.array([[kinds.index(name) for kinds, name in zip(choices, row, strict=True)] for row in names])
    inputs = relaxed(slots, max(map(len, choices)))
    devices = {
        name: frame[name].to_numpy(np.float64) for name in frame.columns if name not in ("arch_index", "ops_idx", "ops")
    }
    return TableSet(
        name="fbnet",
        structures=SlotStructures(choices),
        inputs=inputs,
        latency_ms=devices,
        work=np.array([_fbnet_work(row) for row in names]),
        features=one_hot(slots, inputs.shape[-1]).reshape(len(slots), -1),
        measurable=np.arange(len(slots)),
        targets=tuple(devices),
        kind_of={name: _kind(name) for name in devices},
    )


def phones(data: Path) -> TableSet:
    """118 networks on 61 phones: 86 runs on the CPU, 21 on the GPU. All runs of a phone are held out together."""
    networks = pd.read_csv(data / "phones_networks.csv.gz").set_index("network_idx")
    runs = pd.read_csv(data / "phones_latency.csv.gz")
    runs = runs[runs["network_idx"].isin(networks.index)]
    table = runs.pivot(index=["processor", "run_id", "device"], columns="network_idx", values="median_ms")
    layers = [_onnx_layers(text) for text in networks.loc[table.columns, "onnx_embedding"]]
    amounts = np.stack([layer_amounts(each) for each in layers])
    names = {key: f"{key[0]} {key[1]}" for key in table.index}
    first = {(processor, device): names[processor, run, device] for processor, run, device in reversed(table.index)}
    return TableSet(
        name="phones",
        structures=NetworkStructures(),
        inputs=torch.from_numpy(amounts),
        latency_ms={names[key]: row.to_numpy(np.float64) for key, row in table.iterrows()},
        work=np.array([sum(layer.multiply_adds for layer in each) for each in layers]),
        features=np.log1p(amounts[:, amounts.std(0) > 0]),
        measurable=np.arange(len(amounts)),
        targets=tuple(sorted(first.values())),
        phone_of={names[key]: key[2] for key in table.index},
        kind_of={names[key]: key[0] for key in table.index},
    )


SETS = {"nasbench201": nasbench201, "fbnet": fbnet, "phones": phones}


def _kind(device: str) -> str:
    """Kind of a device of HELP's tables."""
    if device.startswith(("1080ti", "titanx")):
        return "gpu"
    return "server" if device.startswith(("silver", "gold")) else "phone"


def _fbnet_work(names: list[str]) -> float:
    """Millions of multiply-adds of the searched blocks, `k3_e6`, `k3_e1_g2` or `skip`."""
    total, before, blocks = 0.0, 16, iter(names)
    for channels, count, stride, height in _FBNET_STAGES:
        for position in range(count):
            name, inputs, step = next(blocks), before if position == 0 else channels, stride if position == 0 else 1
            size, out = height if position == 0 else height // stride, height // stride
            if name != "skip":
                kernel, expansion, *groups = (int(part[1:]) for part in name.split("_"))
                wide, share = inputs * expansion, 1 / (groups[0] if groups else 1)
                total += size**2 * inputs * wide * share + out**2 * wide * (kernel**2 + channels * share)
            elif step > 1 or inputs != channels:
                total += out**2 * inputs * channels
        before = channels
    return total / 1e6


def _onnx_layers(text: str) -> tuple[LayerCost, ...]:
    """Layers of one network: kind (one of 5), sizes, channels, kernel, stride, padding, and multiply-adds."""
    found = []
    for row in np.array(text.split(), dtype=np.float64).reshape(-1, _ONNX_COLUMNS):
        kind = _ONNX_KINDS[int(row[:5].argmax())]
        size, out, channels, filters, kernel = row[5:10]
        dense = kind == "convolution"
        if dense and kernel == 1:
            kind = "fully connected" if size == 1 else "pointwise"
        weights = kernel**2 * channels * (filters if dense else 1) if kind not in ("elementwise", "pooling") else 0.0
        values = size**2 * channels + out**2 * filters
        found.append(LayerCost(kind, row[12] if weights else 0.0, values, weights, (), ()))
    assert all(each.kind in KINDS for each in found)
    return tuple(found)
