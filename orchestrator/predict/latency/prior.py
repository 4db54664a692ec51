"""LatencyPrior: what the prices of many devices have in common, before anything is measured on a new one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import DataError
from orchestrator.predict.latency.noise import fit_noise
from orchestrator.predict.latency.prices import Prices, errors_of, fit_prices
from orchestrator.predict.latency.structures import Structures
from orchestrator.space.base import FloatArray

_NO_FIT = 0.3  # error of the log beyond which a structure says nothing of an architecture
_BATCH_SIZE = re.compile(r"^(?P<family>.+)_\d+$")


@dataclass(frozen=True)
class LatencyPrior:
    """Prices of `D` devices for `K` amounts.

    Attributes:
        devices: Names of the sources.
        families: Of each: batch sizes of one device are one family, which has one say.
        structures: (`D`,) the structure that explains each best.
        prices: (`D`, `K`) in units of the device's median latency.
        spreads: (`D`,) relative errors' robust standard deviation, given the prices.
        noise: (`D`, 3, `C`) their shape, as `orchestrator.predict.latency.noise.fit_noise` says.
        medians_ms: (`D`,).
        amounts_of: Names of the `K` amounts.
        provenance: How it was made.
    """

    devices: tuple[str, ...]
    families: tuple[str, ...]
    structures: tuple[int, ...]
    prices: FloatArray
    spreads: FloatArray
    noise: FloatArray
    medians_ms: FloatArray
    amounts_of: tuple[str, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def without(self, devices: Collection[str]) -> LatencyPrior:
        """Without some devices. Raises DataError when none is left."""
        kept = [row for row, each in enumerate(self.devices) if each not in devices]
        if not kept:
            raise DataError(
                f"all sources of the prior are left out ({', '.join(self.devices)}): it knows no other device",
                "train it on more devices",
            )
        return replace(
            self,
            devices=tuple(self.devices[row] for row in kept),
            families=tuple(self.families[row] for row in kept),
            structures=tuple(self.structures[row] for row in kept),
            prices=self.prices[kept],
            spreads=self.spreads[kept],
            noise=self.noise[kept],
            medians_ms=self.medians_ms[kept],
        )

    @property
    def says(self) -> FloatArray:
        """(`D`,) weights of the devices: families count alike; sum to 1."""
        sizes = np.array([self.families.count(each) for each in self.families])
        return np.asarray(1 / sizes / (1 / sizes).sum())

    @property
    def mean(self) -> FloatArray:
        """(`K`,) mean price."""
        return np.asarray(self.says @ self.prices)

    @property
    def covariance(self) -> FloatArray:
        """(`K`, `K`) of the prices from device to device."""
        centred = self.prices - self.mean
        return np.asarray(centred.T @ (centred * self.says[:, None]))

    @property
    def typical_ms(self) -> tuple[float, float]:
        """Geometric mean of the devices' median latencies, and the standard deviation of their logarithm."""
        logs = np.log(self.medians_ms)
        mean = float(self.says @ logs)
        return float(np.exp(mean)), float(np.sqrt(self.says @ (logs - mean) ** 2))


def family_of(device: str, devices: Collection[str]) -> str:
    """What a device shares with its batch-size siblings: `titanx` for `titanx_1` where `titanx_32` exists, too."""
    match = _BATCH_SIZE.match(device)
    if match is None:
        return device
    siblings = [each for each in devices if (found := _BATCH_SIZE.match(each)) and found["family"] == match["family"]]
    return match["family"] if set(siblings) - {device} else device


def fit_prior(
    structures: Structures,
    tables: Mapping[str, tuple[Tensor, FloatArray]],
    *,
    provenance: Mapping[str, Any] | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> LatencyPrior:
    """Learn from many devices' measurements.

    Args:
        structures: What the model sees.
        tables: Device -> inputs (`N`, ...) and latencies (`N`,) in milliseconds, all positive. Inputs may be shared.
        provenance: How the tables came about, for the checkpoint.
        progress: Told of each device: its name, how many are done, how many there are.

    Raises:
        DataError: No devices, or one whose latencies do not differ.
    """
    if not tables:
        raise DataError("no devices to learn from", "name at least one column of latencies")
    fitted: list[tuple[int, Prices]] = []
    noise: list[FloatArray] = []
    amounts_of: dict[int, FloatArray] = {}
    for done, (device, (inputs, latency_ms)) in enumerate(tables.items()):
        progress(device, done, len(tables))
        if latency_ms.max() <= latency_ms.min():
            raise DataError(f"{device}: every latency is {latency_ms[0]:g} ms", "a constant column teaches nothing")
        if id(inputs) not in amounts_of:
            with torch.no_grad():
                amounts_of[id(inputs)] = structures.amounts(inputs).numpy()
        relative = latency_ms / np.median(latency_ms)
        fits = [fit_prices(amounts, relative) for amounts in amounts_of[id(inputs)]]
        best = int(np.argmin([_misfit(a, fit, relative) for a, fit in zip(amounts_of[id(inputs)], fits, strict=True)]))
        fitted.append((best, fits[best]))
        noise.append(fit_noise(errors_of(fits[best], amounts_of[id(inputs)][best], relative)))
    progress("", len(tables), len(tables))
    return LatencyPrior(
        devices=tuple(tables),
        families=tuple(family_of(device, tables) for device in tables),
        structures=tuple(best for best, _ in fitted),
        prices=np.stack([fit.values for _, fit in fitted]),
        spreads=np.array([fit.spread for _, fit in fitted]),
        noise=np.stack(noise),
        medians_ms=np.array([float(np.median(latency_ms)) for _, latency_ms in tables.values()]),
        amounts_of=structures.amounts_of,
        provenance=dict(provenance or {}),
    )


def _misfit(amounts: FloatArray, fit: Prices, relative: FloatArray) -> float:
    """Mean error of the log; no error counts more than another that says as little."""
    expected = np.maximum(amounts @ fit.values, 1e-3)
    return float(np.minimum(np.abs(np.log(relative / expected)), _NO_FIT).mean())
